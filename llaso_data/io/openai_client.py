"""OpenAI's own client for any address that speaks as OpenAI's servers do."""

from __future__ import annotations

from typing import Any

from llaso_data.extras import needed_for


def client_of(url: str, key: str | None, tries: int, timeout_s: float, purpose: str) -> tuple[Any, dict[str, Any]]:
    """A client that sends an address nothing but what is meant for it.

    Args:
        url: The address, mostly ending in ``/v1``.
        key: What the address asks for; None: nothing is sent.
        tries: How often a request is sent that fails for now.
        timeout_s: Seconds after which a request has failed.
        purpose: What needs the client, for the message where its package is missing.

    Returns:
        The client, and the ``extra_headers`` of each of its requests.

    Raises:
        LLaSOError: The package is not installed.
    """
    with needed_for(purpose):
        import openai

    # The client would send variables that are meant for OpenAI to whatever address this is.
    unsent = ["OpenAI-Organization", "OpenAI-Project", *([] if key else ["Authorization"])]
    client = openai.OpenAI(
        base_url=url,
        api_key=key or "none",
        max_retries=tries - 1,
        timeout=timeout_s,
        organization="",
        project="",
    )
    return client, {name: openai.Omit() for name in unsent}
