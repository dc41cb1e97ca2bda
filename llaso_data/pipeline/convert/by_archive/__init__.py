"""Conversation sets whose sound lies in zips, converted archive by archive, without unpacking.

LLaSO is published so: a few JSON files of gigabytes, and thousands of zips, of which the JSON does not say which holds
what. The stages, each a set of tasks for either engine (:mod:`llaso_data.pipeline.engines`):

1. :mod:`.scan`: one task a JSON file; its rows go into buckets by the name of their first audio's file.
2. :mod:`.directories`: one task a few zips; the names of their members go into the same buckets.
3. :mod:`.join`: one task a bucket; each row finds its member, and goes to that member's archive.
4. :mod:`.archive`: one task an archive; it is fetched by one linear read, and its parts are written.

A task is a pure function of what its digest is made of. Its result is a file of that name below
``.convert/archives`` in the output (:mod:`.work`), and the file's existence is the commit: a kill loses the tasks that
were running. :mod:`.run` puts the stages together.
"""
