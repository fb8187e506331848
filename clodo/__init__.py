"""Ships, migrates, backs up and watches fleets of Cloudflare Workers; the library, free of Prefect."""
