"""Pages of a service: static files served under a strict policy, and the shell around them.

The Python side (`site`, `joining`) is all that a host needs; what is in `static/` runs in the
browser and speaks to the host by JSON-RPC alone. No build step: the files are plain ES modules.
"""
