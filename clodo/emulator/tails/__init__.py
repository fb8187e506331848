"""`wrangler tail`: sessions over the API, events over a WebSocket."""
