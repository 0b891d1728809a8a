"""The web page on which a user draws and sees the drawing coloured.

The modules: `service` (images in bytes, without HTTP), `app` (the HTTP application), `connection_limits`,
`cli` (the command). `static/` runs in the browser: plain HTML, CSS and JavaScript without a build step.

Gradio is not used because its sketch component sends a drawing only on request, has no layer for hints, loads
fonts from other servers and depends on pandas. Starlette is the base of FastAPI; msgspec, which reads our
other JSON files, also validates the requests.
"""
