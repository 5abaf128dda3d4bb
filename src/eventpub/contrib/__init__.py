"""Where other frameworks meet eventpub: each module needs the package it is named after, or less."""
