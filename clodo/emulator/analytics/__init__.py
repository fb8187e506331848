"""What happened in the embedded cloud, counted, and asked for in Cloudflare's GraphQL."""
