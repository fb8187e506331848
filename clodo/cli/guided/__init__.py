"""The guided flows: questions on a terminal, each of which an option answers as well."""
