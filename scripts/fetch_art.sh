#!/usr/bin/env bash
# Fetches drawings to learn from, as folders of SVGs for python -m preprocess. Needs apt-get or npm, but not root.
#
#   ./scripts/fetch_art.sh openclipart DIR            Openclipart, from Debian's package (public domain)
#   ./scripts/fetch_art.sh fluent DIR                 emoji, from npm's packages: Microsoft's (MIT); or twemoji and
#                                                     emojione (CC BY 4.0), noto and fxemoji (Apache-2.0)
#   ./scripts/fetch_art.sh openmoji DIR               OpenMoji, from npm's package (CC BY-SA 4.0)
#   ./scripts/fetch_art.sh openclipart DIR ARCHIVE    takes a package that was downloaded elsewhere
#
# DIR appears when it is complete, with its source and licence in SOURCE.txt. Another run says again what it holds.
set -euo pipefail
unset CDPATH # with CDPATH, cd prints the folder

openclipart_file=openclipart-svg_0.18+dfsg-19_all.deb # what to download where apt-get is missing
openmoji_version=17.0.0                               # pinned, because scripts/bench/coloring.py tests on it
usage="usage: $0 openclipart|fluent|twemoji|emojione|noto|fxemoji|openmoji DIR [ARCHIVE]"

fail() { # SENTENCE [CODE]
    echo "$0: $1" >&2
    exit "${2:-1}"
}

quote() { # PATH: as it can be typed in a shell
    printf %q "$1"
}

again() { # FILE: the command that takes a downloaded file
    echo "$0 $art $(quote "$dir") $1"
}

# ------------------------------------------------------------------------------------------ Openclipart

deb_field() { # NAME: a field of the package's control file
    if command -v dpkg-deb >/dev/null; then
        dpkg-deb --field "$archive" "$1"
    else
        ar p "$archive" control.tar.xz | tar -xJOf - ./control | sed -n "s/^$1: //p"
    fi 2>/dev/null || true
}

unpack_deb() { # FOLDER
    if command -v dpkg-deb >/dev/null; then
        dpkg-deb --extract "$archive" "$1"
    else
        mkdir "$1"
        ar p "$archive" data.tar.xz | tar -xJf - -C "$1"
    fi
}

download_openclipart() {
    local advice="download $openclipart_file (25 MB, Debian's package openclipart-svg), then type: $(again "$openclipart_file")"
    command -v apt-get >/dev/null || fail "apt-get is not installed: $advice"
    echo "Downloading openclipart-svg (25 MB) with apt-get"
    if ! (cd "$work" && apt-get --quiet download openclipart-svg) >"$work/log" 2>&1; then
        fail "apt-get download failed ($(grep -m 1 ^E: "$work/log" || tail -n 1 "$work/log")): run apt-get update, or $advice"
    fi
    archive=$(find "$work" -name '*.deb')
}

fetch_openclipart() {
    [ -n "$archive" ] || download_openclipart
    command -v dpkg-deb >/dev/null || command -v ar >/dev/null ||
        fail "neither dpkg-deb nor ar is installed, and one of them must unpack $archive: install binutils"
    [ "$(deb_field Package)" = openclipart-svg ] || fail "$archive is not Debian's package openclipart-svg" 2
    unpack_deb "$work/package"
    mv "$work/package/usr/share/openclipart/svg" "$work/art"
    cp "$work/package/usr/share/doc/openclipart-svg/copyright" "$work/art/COPYRIGHT.txt"
    # A drawing that is there twice could be learnt from in one split and be tested on in the other.
    local links
    links=$(find "$work/art" -type l | wc -l)
    find "$work/art" -type l -delete
    find "$work/art" -type d -empty -delete
    cat >"$work/art/SOURCE.txt" <<END
Openclipart
source:  Debian's package openclipart-svg $(deb_field Version)
licence: public domain (COPYRIGHT.txt)
holds:   $(count_svgs) SVGs in class folders; $((links)) more names in the package are links to the same drawings
END
}

next_openclipart() {
    cat <<END
Next:
  python -m preprocess --input $(quote "$dir") --lines drawn,borders,canny --min_colored 0.02 \\
      --max_reject_fraction 0.6 --output out/openclipart
END
}

# ---------------------------------------------------------------------------------------------- npm

download_package() { # NAME VERSION: leaves its path in $archive
    local file=${1#@}
    file=${file//\//-}-$2.tgz
    local advice="type npm pack $1@$2 on a machine that has it, copy the file $file here, then type: $(again "$file")"
    command -v npm >/dev/null || fail "npm is not installed: apt-get install npm, or $advice"
    echo "Downloading $1@$2 with npm"
    if ! (cd "$work" && npm pack "$1@$2") >"$work/log" 2>&1; then
        fail "npm pack $1@$2 failed ($(grep -m 1 -v '^npm notice' "$work/log" || true)): $advice"
    fi
    archive=$work/$file
}

require_python() {
    command -v "$python" >/dev/null || fail "$python is not installed: install Python 3.11 or newer, or set PYTHON" 2
}

# ---------------------------------------------------------------------------------------------- emoji

# By set: npm's package, its version (pinned, because the starter model is trained on it), name, licence.
emoji_set() {
    case "$1" in
        fluent) set -- fluent-emoji-flat 1.2.6 "Fluent Emoji" "MIT; name Microsoft as the source" ;;
        twemoji) set -- twemoji 1.2.5 Twemoji "CC BY 4.0; name Twitter as the source" ;;
        emojione) set -- emojione 1.2.3 EmojiOne "CC BY 4.0; name EmojiOne as the source" ;;
        noto) set -- noto 1.2.9 "Noto Emoji" "Apache-2.0; name Google as the source" ;;
        fxemoji) set -- fxemoji 1.2.2 "Firefox OS Emoji" "Apache-2.0; name Mozilla as the source" ;;
        *) return 1 ;;
    esac
    package=@iconify-json/$1 version=$2 title=$3 licence=$4
}

# Iconify packs each set of emoji as one JSON file of SVG elements. DIR/animals-nature/cat.svg is one of them, so
# that the class of a drawing is its group. Of a person in five tones of skin one is taken, and not the yellow one.
fetch_emoji() {
    require_python
    [ -n "$archive" ] || download_package "$package" "$version"
    mkdir "$work/art"
    "$python" - "$archive" "$work/art" "$package" >"$work/version" 2>"$work/log" <<'END' ||
import json, re, sys, tarfile, zlib
from pathlib import Path

archive, art, name = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
with tarfile.open(archive) as package:
    read = lambda file: json.load(package.extractfile(f"package/{file}"))
    icons, metadata, description, info = map(read, ("icons.json", "metadata.json", "package.json", "info.json"))
if description["name"] != name:
    sys.exit(f"it holds {description['name']}")
tone = re.compile("-(?:medium-light|medium-dark|medium|light|dark)(?:-skin-tone(?=-|$)|$)")
for category, names in metadata["categories"].items():
    if category in ("Flags", "Modifiers"):
        continue
    folder = art / re.sub(r"\W+", "-", category.lower())
    folder.mkdir(parents=True, exist_ok=True)
    variants = {}  # by name: the icons that differ from it in one tone alone
    for icon in sorted(names):
        without, num_tones = tone.subn("", icon)
        if num_tones < 2:  # two people may have a tone each
            variants.setdefault(without, []).append(icon)
    for icon, toned in variants.items():
        toned = [v for v in toned if v != icon] or [icon]
        chosen = icons["icons"][toned[zlib.crc32(icon.encode()) % len(toned)]]
        width, height = (chosen.get(side, icons.get(side, 16)) for side in ("width", "height"))
        root = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">'
        (folder / f"{icon}.svg").write_text(f"{root}{chosen['body']}</svg>\n")
licence, author = info["license"], info["author"]
(art / "COPYRIGHT.txt").write_text(f"{author['name']}, {author['url']}\n{licence['title']}, {licence['url']}\n")
print(description["version"])
END
        fail "$archive is not npm's package $package, or it is damaged ($(tail -n 1 "$work/log"))" 2
    cat >"$work/art/SOURCE.txt" <<END
$title
source:  npm's package $package $(cat "$work/version")
licence: $licence (COPYRIGHT.txt)
holds:   $(count_svgs) SVGs in folders of their groups; of people in several tones of skin one each, and no flags
END
}

next_emoji() {
    cat <<END
Next:
  python -m preprocess --input $(quote "$dir") --lines drawn,borders,canny --min_colored 0.02 \\
      --max_reject_fraction 0.3 --output out/$art
END
}

# --------------------------------------------------------------------------------------------- OpenMoji

fetch_openmoji() {
    require_python
    [ -n "$archive" ] || download_package openmoji "$openmoji_version"
    mkdir "$work/art"
    "$python" - "$archive" "$work/art" >"$work/version" 2>"$work/log" <<'END' ||
import json, sys, tarfile
from pathlib import Path

# package/black/svg/1F400.svg is written to black/animals-nature/1F400.svg, so that the class of a drawing is its group.
archive, art = sys.argv[1], Path(sys.argv[2])
targets = {"package/data/openmoji.json": "openmoji.json", "package/LICENSE.txt": "COPYRIGHT.txt"}
with tarfile.open(archive) as package:
    metadata = {m.name: package.extractfile(m).read() for m in package if m.name.endswith(".json")}
for row in json.loads(metadata["package/data/openmoji.json"]):
    for style in ("black", "color"):
        name = f"{row['hexcode']}.svg"
        targets[f"package/{style}/svg/{name}"] = f"{style}/{row['group']}/{name}"
        (art / style / row["group"]).mkdir(parents=True, exist_ok=True)
with tarfile.open(archive) as package:  # read from front to back, as it is compressed as a whole
    for member in package:
        if name := targets.pop(member.name, None):
            (art / name).write_bytes(package.extractfile(member).read())
if targets:
    sys.exit(f"{min(targets)} is missing")
print(json.loads(metadata["package/package.json"])["version"])
END
        fail "$archive is not npm's package openmoji, or it is damaged ($(tail -n 1 "$work/log"))" 2
    cat >"$work/art/SOURCE.txt" <<END
OpenMoji
source:  npm's package openmoji $(cat "$work/version")
licence: CC BY-SA 4.0 (COPYRIGHT.txt): name OpenMoji as the source, and pass shards of it on under the same licence only
holds:   $(count_svgs) SVGs: as many drawings in black/ as colourings of the same names in color/, in folders of their groups
END
}

next_openmoji() {
    cat <<END
Our benchmark of colouring (scripts/bench/coloring.py) tests on OpenMoji: it cannot judge a network that learnt from it.
Next:
  python -m preprocess --input $(quote "$dir/color") --drawings $(quote "$dir/black") --lines drawn,borders,canny \\
      --min_colored 0.02 --max_reject_fraction 0.2 --output out/openmoji
END
}

# -------------------------------------------------------------------------------------------------------

count_svgs() {
    echo $(($(find "$work/art" -type f -name '*.svg' | wc -l)))
}

is_complete() { # the first line of SOURCE.txt, which is written last, names the art
    [ "$(head -n 1 "$dir/SOURCE.txt" 2>/dev/null)" = "$title" ]
}

remove_abandoned() { # what a killed run left beside DIR; the name ends in its process id
    local folder
    for folder in "$dir".fetching.*; do
        if [ -d "$folder" ] && ! kill -0 "${folder##*.}" 2>/dev/null; then rm -rf "$folder"; fi
    done
}

art=${1:-} dir=${2:-} archive=${3:-} python=${PYTHON:-python3}
case "$#$art" in
    1-h | 1--help) echo "$usage: fetches drawings to learn from, and prints their licence"; exit ;;
    [23]openclipart) title=Openclipart kind=openclipart ;;
    [23]openmoji) title=OpenMoji kind=openmoji ;;
    [23]*) emoji_set "$art" && kind=emoji || { echo "$usage" >&2; exit 2; } ;;
    *) echo "$usage" >&2; exit 2 ;;
esac
[ -n "$dir" ] || fail "DIR is empty: type the name of a new folder (a variable of the shell may not be set)" 2
[ $# -eq 2 ] || [ -f "$archive" ] || fail "there is no file $archive: give the archive that was downloaded" 2
dir=${dir%/}
mkdir -p "$(dirname "$dir")"
[ -z "$archive" ] || archive=$(cd "$(dirname "$archive")" && pwd)/$(basename "$archive")
if ! is_complete; then
    if [ -e "$dir" ] && ! rmdir "$dir" 2>/dev/null; then
        fail "$dir holds something else: type the name of a new folder" 2
    fi
    remove_abandoned
    work=$(cd "$(dirname "$dir")" && pwd)/$(basename "$dir").fetching.$$
    trap 'rm -rf "$work"' EXIT
    mkdir "$work"
    "fetch_$kind"
    mv "$work/art" "$dir"
fi
echo "== $dir"
cat "$dir/SOURCE.txt"
echo
"next_$kind"
