"""
The data plane: workerd processes, the hostname router, and the back ends that the Workers' bindings call.

Next door: `ports` (what the control plane and the stores implement), `runtime` (what the control plane drives) with its
rooms `launching`, `instances`, `housekeeping`, `alarms`, `callees`, `orders` (events without a request), `disturbances`
and `tails`; `router` (the ASGI application in front of the Workers), `passing` and `forwarding` (one request to one
version), `configuration` (what workerd is told), `processes` (how it is started and ended), `doors` and `bindings` (the
wire protocols of D1, KV, queues), `rpc` (calls between Workers), `crons` and `schedules` (the clock of Cron Triggers),
`points` (Analytics Engine). The JavaScript files run inside workerd, beside the user's Worker.
"""
