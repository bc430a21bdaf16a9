"""Files that are computed: the generated regions of protocol/SPEC.md and protocol/vectors/*.json.

python -m tools.generate            write what is out of date, and name it
python -m tools.generate --check    write nothing; exit 1 and say what is out of date
"""
