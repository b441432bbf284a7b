"""What a person on call sends to somebody who can help: one archive, without secrets."""
