"""DNS records of zones: their types, rules, filters, and the zone file."""
