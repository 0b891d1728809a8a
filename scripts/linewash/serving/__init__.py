"""The page on which a person draws and sees colour.

Read the files in this order: `service` (bytes in, pictures out), `app` (the same over HTTP), `cli`;
`static/` is what the browser runs: plain HTML, CSS and JavaScript, nothing to build.

Why not Gradio: its sketch component sends a drawing when one asks it to, has no layer for hints, loads fonts
from outside, and brings pandas along. Why Starlette: it is what FastAPI is made of, and msgspec, which reads
our other JSON, checks requests as well.
"""
