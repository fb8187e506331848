"""
Workers: scripts, their versions and deployments, and all that hangs on them.

`upload`, `bindings`, `objects` and `annotations` judge what was sent; `store` keeps it; `publishing` turns an upload
into a version and a version into a deployment; `directory` tells the data plane who answers where; the rest are the
routes of the API, a module a resource.
"""
