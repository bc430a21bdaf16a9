"""Files that are computed: the generated regions of protocol/SPEC.md, protocol/vectors/*.json and the C header.

python -m tools.generate            write what is out of date, and name it
python -m tools.generate --check    write nothing; exit 1 and say what is out of date
"""
