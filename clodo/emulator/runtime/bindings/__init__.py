"""The Python end of the bindings: D1, KV, queues and Analytics Engine as workerd speaks to them over HTTP."""
