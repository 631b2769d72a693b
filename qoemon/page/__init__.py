"""The live page: what one tick and the last hour say, for people, in a browser."""
