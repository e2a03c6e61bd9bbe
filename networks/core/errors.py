"""The base of every error of the networks whose message names a remedy."""


class NetworkError(Exception):
    """Work of the networks that cannot be done as asked; the message says why and what to do."""
