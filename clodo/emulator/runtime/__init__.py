"""
The data plane: workerd processes, the hostname router, and the back ends that the Workers' bindings call.

Next door: `ports` (what the control plane and the stores implement), `runtime` (what the control plane drives),
`router` (the ASGI application in front of the Workers), `configuration` (what workerd is told), `processes`
(how it is started and ended), `bindings` (the wire protocols of D1, KV, queues), `tails` (what wrangler tail shows).
"""
