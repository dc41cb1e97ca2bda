"""``llaso-model serve``: a model behind OpenAI's addresses.

commands.py           the command: keys, limits, the model, the voice
loading.py            the model and what belongs to it; the server for programs that run ASGI applications
server.py             uvicorn, idle connections, SIGTERM
settings.py           what the server is told, and its limits
app.py                the addresses
gate.py               who may ask, how much, how long; a client that leaves ends its request
service.py            what the addresses share
errors.py             errors in OpenAI's shape
bodies.py             forms and JSON within limits; options that are unknown are refused by name
answering.py          the engine for an event loop
sounds.py             strangers' audio, decoded by the limited worker in threads
transcribing.py       recordings cut at pauses, asked piece by piece
transcriptions.py     /v1/audio/transcriptions and /v1/audio/translations
chat.py               /v1/chat/completions
chat_request.py       what it takes
speech.py             /v1/audio/speech
spoken.py             answers aloud
realtime.py           /v1/realtime
realtime_settings.py  what a session is told, and its audio
live/                 what of a hypothesis is confirmed while speech goes on
events.py             server-sent events
metrics.py            /metrics
page.py               the page at /
"""
