"""A server on loopback that speaks the Hub's protocol, for the real client library to talk to."""
