"""Separates an SVG into its drawing and its colours, as two SVGs. It runs in the process of `svg_process`.

A shape is drawn as a person would draw it with a pen: its area hides what is below, and its outline is black.

* A filled shape becomes white with an outline `PEN_WIDTH` wide.
* Ink stays ink: near-black areas stay black, and near-black strokes keep their width if it is larger.
* A stroke in another colour is a line if it is thin. If it is over `MAX_LINE_WIDTH` wide, it is an area, and
  both of its sides are drawn.
* Shading is not drawn: shapes that are more than half transparent, and blurred ones.

In the colours, near-black outlines of filled shapes are left out, because the fill reaches below them. All
other ink is removed by `flats`. Text and embedded pictures are in neither of the two: fonts are not part of
the file, and a picture has no outlines.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError, SubElement, XMLParser, tostring

PEN_WIDTH = 0.01  # of the outlines, as a fraction of the longer side of the picture
MAX_LINE_WIDTH = 0.03  # of a stroke that is one line, as the same fraction
MIN_OPACITY = 0.5  # of a shape that is drawn
MAX_INK = 51  # the largest value of red, green and blue in ink
MAX_ELEMENTS = 20_000  # with the copies that <use> makes
MAX_DEPTH = 200  # of elements within elements, with those that <use> makes

_NAMESPACE = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}href"
_SHAPES = frozenset({"path", "rect", "circle", "ellipse", "line", "polyline", "polygon"})
_CONTAINERS = frozenset({"g", "a", "switch", "svg"})
# What shapes refer to. These elements are copied as they are, wherever they stand.
_REFERENCED = frozenset(
    {"linearGradient", "radialGradient", "pattern", "clipPath", "mask", "marker", "filter", "style"}
)
_GEOMETRY = ("viewBox", "x", "y", "width", "height", "preserveAspectRatio")
_PAINT = ("fill", "stroke", "stroke-width", "fill-opacity", "stroke-opacity", "opacity", "color", "display",
          "filter")  # fmt: skip
_UNITS = {"": 1, "px": 1, "pt": 96 / 72, "pc": 16, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96}  # px
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_UNFILTERED = {"opacity": "1", "filter": "none", "mix-blend-mode": "normal"}


class SvgError(ValueError):
    """An SVG that cannot be drawn: `reason` is the reason of the reject, `detail` is for the user."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclasses.dataclass(frozen=True)
class _Style:
    """The paint that an element inherits. Widths are in the units of the root element."""

    fill: str = "black"
    stroke: str = "none"
    stroke_width: float = 1.0  # in the element's own units
    fill_opacity: float = 1.0
    stroke_opacity: float = 1.0
    opacity: float = 1.0  # the product of all groups
    color: str = "black"
    scale: float = 1.0  # of the element's units in units of the root element
    soft: bool = False  # the element is blurred


def separate(data: bytes, fit: str) -> tuple[str, str]:
    """Returns the drawing and the colours of an SVG, as two SVGs that fill any square.

    Args:
      data: the SVG, uncompressed.
      fit: `squash` changes the aspect of the picture, `crop` cuts its longer side.

    Raises:
      SvgError: with reason `corrupt`, `too_large` (too many shapes), `too_deep`, or `no_size`.
    """
    root = _parse(data)
    view_box = _view_box(root)
    document = _Document(root, max(view_box[2:]))
    group = Element(f"{_NAMESPACE}g", {k: v for k, v in root.items() if k not in _GEOMETRY})
    drawing, colors = _square(fit, view_box), _square(fit, view_box)
    document.add_children(root, *_copies(group, drawing, colors), document.style_of(group, _Style()), 0)
    return tostring(drawing, "unicode"), tostring(colors, "unicode")


def _parse(data: bytes) -> Element:
    """Parses the XML. Expat never opens external entities and limits the growth of internal ones."""
    parser = XMLParser()
    try:
        parser.feed(data)
        root = parser.close()
    except (ParseError, ValueError, LookupError, OSError) as e:  # the last two from unknown encodings
        raise SvgError("corrupt", f"the SVG is no XML: {e}") from None
    if root.tag == "svg":  # resvg draws documents that do not declare the namespace
        for element in root.iter():
            element.tag = element.tag if "}" in element.tag else _NAMESPACE + element.tag
    if root.tag != f"{_NAMESPACE}svg":
        raise SvgError("corrupt", f"the root element is {root.tag[:80]!r}, not svg")
    return root


def _view_box(root: Element) -> tuple[float, float, float, float]:
    """Returns left, top, width and height of the picture, in the units of the root element.

    A picture whose `width` and `height` have another aspect than its `viewBox` shows more than the view box.
    """
    width, height = _length(root.get("width", "")), _length(root.get("height", ""))
    numbers = [float(number) for number in re.findall(_NUMBER, root.get("viewBox", ""))]
    if len(numbers) != 4 or not all(map(math.isfinite, numbers)) or min(numbers[2:]) <= 0:
        if not (width and height):
            raise SvgError("no_size", "the SVG has neither a view box nor a width and a height")
        return 0.0, 0.0, width, height
    left, top, box_width, box_height = numbers
    if not (width and height) or root.get("preserveAspectRatio", "").strip() == "none":
        return left, top, box_width, box_height
    scale = min(width / box_width, height / box_height)
    seen_width, seen_height = width / scale, height / scale
    return left - (seen_width - box_width) / 2, top - (seen_height - box_height) / 2, seen_width, seen_height


def _square(fit: str, view_box: tuple[float, ...]) -> Element:
    """Returns a square root element that shows `view_box`: left, top, width and height."""
    attributes = {"viewBox": " ".join(map(str, view_box)), "width": "100", "height": "100"}
    attributes["preserveAspectRatio"] = "none" if fit == "squash" else "xMidYMid slice"
    return Element(f"{_NAMESPACE}svg", attributes)


class _Document:
    """An SVG that is copied twice at the same time: as its drawing and as its colours."""

    def __init__(self, root: Element, side: float) -> None:
        self._pen_width = PEN_WIDTH * side
        self._max_line_width = MAX_LINE_WIDTH * side
        self._by_id: dict[str, Element] = {}
        for element in root.iter():
            self._by_id.setdefault(element.get("id", ""), element)
        self._rules = dict(_css_rules(root))
        self._num_elements = 0
        self._used: set[str] = set()  # the targets of the <use> elements around the current element

    def add_children(
        self, source: Element, drawing: Element, colors: Element, style: _Style, depth: int
    ) -> None:
        """Appends the children of `source` to the two copies of it."""
        if depth > MAX_DEPTH:
            raise SvgError("too_deep", f"elements are nested over {MAX_DEPTH} deep")
        for child in source:
            self._add(child, drawing, colors, style, depth)

    def _add(self, source: Element, drawing: Element, colors: Element, style: _Style, depth: int) -> None:
        name = str(source.tag).removeprefix(_NAMESPACE)
        self._num_elements += 1
        if self._num_elements > MAX_ELEMENTS:
            raise SvgError("too_large", f"over {MAX_ELEMENTS:,} elements, with the copies that <use> makes")
        if name in _REFERENCED:
            drawing.append(source)
            colors.append(source)
        elif name == "defs":  # its shapes are copied where they are used
            for child in source.iter():
                if str(child.tag).removeprefix(_NAMESPACE) in _REFERENCED:
                    drawing.append(child)
                    colors.append(child)
        elif name in _SHAPES or name in _CONTAINERS or name == "use":
            own = self.style_of(source, style)
            if self._declarations(source).get("display", "").strip() == "none":
                return
            if name in _SHAPES:
                colors.append(self._colored(source, own))
                drawing.extend(self._drawn(source, own))
            elif name == "use":
                self._add_used(source, drawing, colors, own, depth)
            else:
                self.add_children(source, *_copies(source, drawing, colors), own, depth + 1)

    def _add_used(
        self, source: Element, drawing: Element, colors: Element, style: _Style, depth: int
    ) -> None:
        """Copies the target of a <use> element in its place (SVG 2, 5.6)."""
        name = source.get("href", source.get(_XLINK, "")).strip()
        target = self._by_id.get(name[1:]) if name.startswith("#") else None
        if target is None or name in self._used:  # in another file, or within itself
            return
        group = Element(f"{_NAMESPACE}g", dict(source.attrib))
        for attribute in ("x", "y", "width", "height", "href", _XLINK):
            group.attrib.pop(attribute, None)
        x, y = _length(source.get("x", "")), _length(source.get("y", ""))
        group.set("transform", f"{source.get('transform', '')} translate({x} {y})")
        if str(target.tag).removeprefix(_NAMESPACE) in ("symbol", "svg"):
            attributes = {**target.attrib, **{k: v for k, v in source.items() if k in ("width", "height")}}
            target_copy = Element(f"{_NAMESPACE}svg", attributes)
            target_copy.extend(target)
            target = target_copy
        self._used.add(name)
        self._add(target, *_copies(group, drawing, colors), style, depth + 1)
        self._used.discard(name)

    def style_of(self, source: Element, inherited: _Style) -> _Style:
        """Returns the style of an element from its declarations and from what it inherits."""
        own = {name: value.strip() for name, value in self._declarations(source).items()}
        own = {name: value for name, value in own.items() if value and value != "inherit"}
        color = own.get("color", inherited.color)
        width = own.get("stroke-width", "")
        return _Style(
            fill=own.get("fill", inherited.fill).replace("currentColor", color),
            stroke=own.get("stroke", inherited.stroke).replace("currentColor", color),
            stroke_width=_length(width) if width else inherited.stroke_width,
            fill_opacity=_fraction(own.get("fill-opacity"), inherited.fill_opacity),
            stroke_opacity=_fraction(own.get("stroke-opacity"), inherited.stroke_opacity),
            opacity=inherited.opacity * _fraction(own.get("opacity"), 1),
            color=color,
            scale=inherited.scale * _transform_scale(source.get("transform", "")) * _viewport_scale(source),
            soft=self._is_blurred(own.get("filter", "")),
        )

    def _declarations(self, source: Element) -> dict[str, str]:
        """Returns the declared properties of an element by ascending priority: attributes, rules, style."""
        declared = {name: source.attrib[name] for name in _PAINT if name in source.attrib}
        if self._rules:
            names = [str(source.tag).removeprefix(_NAMESPACE)]
            names += [f".{name}" for name in source.get("class", "").split()] + [f"#{source.get('id')}"]
            for name in ("*", *names):
                declared |= self._rules.get(name, {})
        if style := source.get("style"):
            declared |= _css_declarations(style)
        return declared

    def _is_blurred(self, reference: str) -> bool:
        """Returns True if a filter only blurs. (Others, for example, add a shadow.)"""
        element = self._by_id.get(_referenced_id(reference))
        names = (
            {str(child.tag).removeprefix(_NAMESPACE) for child in element} if element is not None else set()
        )
        return "feGaussianBlur" in names and not names & {"feMerge", "feComposite", "feBlend", "feOffset"}

    def _colored(self, source: Element, style: _Style) -> Element:
        """Returns a shape as it is, but without an outline of ink if it is filled."""
        is_filled = self._opacity(style.fill) * style.fill_opacity >= MIN_OPACITY
        if not (is_filled and self._is_ink(style.stroke)):
            return source
        return _restyled(source, {"stroke": "none"})

    def _drawn(self, source: Element, style: _Style) -> Iterator[Element]:
        """Yields the shapes that draw one shape with a pen."""
        if style.soft:
            return
        fill_opacity = self._opacity(style.fill) * style.fill_opacity * style.opacity
        stroke_opacity = self._opacity(style.stroke) * style.stroke_opacity * style.opacity
        has_stroke = stroke_opacity >= MIN_OPACITY and style.stroke_width > 0
        pen_width, width = self._pen_width, style.stroke_width * style.scale
        fill = "none" if fill_opacity < MIN_OPACITY else "#000" if self._is_ink(style.fill) else "#fff"
        if fill == "none" and not has_stroke:
            return
        if has_stroke and (self._is_ink(style.stroke) or width <= self._max_line_width):
            yield _pen(source, fill, "#000", max(width, pen_width) / style.scale)
        elif has_stroke:
            yield _pen(source, fill, "#000", (width + pen_width) / style.scale)
            yield _pen(source, "none", "#fff", (width - pen_width) / style.scale)
        else:
            # Ink has no outline of its own: a thin black shape is a line that somebody outlined.
            yield _pen(source, fill, "none" if fill == "#000" else "#000", pen_width / style.scale)

    def _is_ink(self, paint: str) -> bool:
        colors = [color for color, _ in self._stops(paint)]
        return (
            bool(colors) and max(sum(values) / len(colors) for values in zip(*colors, strict=True)) <= MAX_INK
        )

    def _opacity(self, paint: str) -> float:
        """Returns the opacity of a paint; of a gradient, the mean of its stops. Patterns are opaque."""
        if paint in ("none", "transparent", ""):
            return 0.0
        if not paint.startswith("url"):
            return 1.0
        if _referenced_id(paint) not in self._by_id:  # the colour after it, if any, takes its place
            return self._opacity(paint.rpartition(")")[2].strip() or "none")
        stops = self._stops(paint)
        return sum(opacity for _, opacity in stops) / len(stops) if stops else 1.0

    def _stops(self, paint: str) -> list[tuple[tuple[float, ...], float]]:
        """Returns the colour and the opacity of each stop of a gradient; of a colour, only itself."""
        if not paint.startswith("url"):
            return [(_rgb(paint), 1.0)] if paint not in ("none", "transparent", "") else []
        gradient, visited = self._by_id.get(_referenced_id(paint)), 0
        while gradient is not None and visited < MAX_DEPTH:
            stops = [child for child in gradient if child.tag == f"{_NAMESPACE}stop"]
            if stops:
                return [self._stop(stop) for stop in stops]
            # A gradient without stops has those of the gradient that it refers to.
            gradient, visited = (
                self._by_id.get(gradient.get("href", gradient.get(_XLINK, ""))[1:]),
                visited + 1,
            )
        return []

    def _stop(self, stop: Element) -> tuple[tuple[float, ...], float]:
        declared = {**stop.attrib, **_css_declarations(stop.get("style", ""))}
        return _rgb(declared.get("stop-color", "black")), _fraction(declared.get("stop-opacity"), 1)


def _copies(source: Element, drawing: Element, colors: Element) -> tuple[Element, Element]:
    """Appends an empty copy of `source` to both. Groups of the drawing are opaque."""
    return (
        SubElement(drawing, source.tag, _restyled(source, _UNFILTERED).attrib),
        SubElement(colors, source.tag, dict(source.attrib)),
    )


def _pen(source: Element, fill: str, stroke: str, width: float) -> Element:
    ends = {"stroke-linejoin": "round", "stroke-linecap": "round", "stroke-dasharray": "none"}
    paint = {"fill": fill, "fill-opacity": "1", "stroke": stroke, "stroke-opacity": "1"}
    return _restyled(source, {**paint, "stroke-width": f"{width:.6g}", **ends, **_UNFILTERED})


def _restyled(source: Element, declarations: dict[str, str]) -> Element:
    """Returns a copy without children, in which `declarations` override those of the element."""
    declarations = _css_declarations(source.get("style", "")) | declarations
    style = ";".join(f"{name}:{value}" for name, value in declarations.items())
    return Element(source.tag, {**source.attrib, "style": style})


# ------------------------------------------------------------------------------------------------ values


def _css_rules(root: Element) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields the selectors `*`, `tag`, `.class` and `#id` of all style sheets, with their declarations.

    resvg applies every rule when it renders. Here they only decide what is filled and what is ink.
    """
    rules: dict[str, dict[str, str]] = {}
    for element in root.iter(f"{_NAMESPACE}style"):
        text = re.sub(r"/\*.*?\*/", "", element.text or "", flags=re.DOTALL)
        for selectors, declarations in re.findall(r"([^{}]+)\{([^{}]*)\}", text):
            for selector in selectors.split(","):
                rules.setdefault(selector.strip(), {}).update(_css_declarations(declarations))
    yield from rules.items()


def _css_declarations(text: str) -> dict[str, str]:
    parts = (declaration.partition(":") for declaration in text.split(";"))
    return {name.strip(): value.replace("!important", "").strip() for name, colon, value in parts if colon}


def _length(text: str) -> float:
    """Returns a length in px; 0 if it is missing, a percentage or not a length."""
    match = re.fullmatch(rf"\s*({_NUMBER})\s*([a-z]*)\s*", text)
    value = float(match[1]) * _UNITS.get(match[2], 0) if match else 0.0
    return value if 0 <= value < math.inf else 0.0


def _fraction(text: str | None, default: float) -> float:
    match = re.fullmatch(rf"\s*({_NUMBER})\s*(%?)\s*", text or "")
    return min(1.0, max(0.0, float(match[1]) / (100 if match[2] else 1))) if match else default


def _transform_scale(text: str) -> float:
    """Returns by how much a transform enlarges lengths: the square root of its enlargement of areas."""
    scale = 1.0
    for name, arguments in re.findall(r"(\w+)\s*\(([^)]*)\)", text) if text else ():
        values = [float(number) for number in re.findall(_NUMBER, arguments)]
        if name == "matrix" and len(values) == 6:
            scale *= math.sqrt(abs(values[0] * values[3] - values[1] * values[2]))
        elif name == "scale" and values:
            scale *= math.sqrt(abs(values[0] * values[-1]))
    return scale if 0 < scale < math.inf else 1.0


def _viewport_scale(source: Element) -> float:
    """Returns by how much a nested <svg> enlarges its contents."""
    numbers = re.findall(_NUMBER, source.get("viewBox", ""))
    width, height = _length(source.get("width", "")), _length(source.get("height", ""))
    if len(numbers) != 4 or not (width and height):
        return 1.0
    box_width, box_height = abs(float(numbers[2])), abs(float(numbers[3]))
    return min(width / box_width, height / box_height) if box_width and box_height else 1.0


def _referenced_id(text: str) -> str:
    match = re.match(r"url\(\s*['\"]?#([^'\")]+)['\"]?\s*\)", text)
    return match[1] if match else ""


def _rgb(text: str) -> tuple[float, ...]:
    """Returns a colour as red, green and blue in 0..255. Named colours other than black count as light."""
    text = text.strip().lower()
    if match := re.match(r"#([0-9a-f]{3}|[0-9a-f]{6})\b", text):
        digits = match[1] if len(match[1]) == 6 else "".join(digit * 2 for digit in match[1])
        return tuple(bytes.fromhex(digits))
    if match := re.match(rf"rgba?\(\s*({_NUMBER})(%?)[\s,]+({_NUMBER})%?[\s,]+({_NUMBER})%?", text):
        factor = 2.55 if match[2] else 1
        return tuple(float(match[i]) * factor for i in (1, 3, 4))
    return (0.0, 0.0, 0.0) if text.startswith("black") else (255.0, 255.0, 255.0)
