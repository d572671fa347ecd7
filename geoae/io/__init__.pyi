from . import archive as archive, decode as decode, formats as formats, lazy as lazy, worker as worker
from .archive import (
    clock as clock,
    coverage as coverage,
    coverage_text as coverage_text,
    holding as holding,
    scan as scan,
)
from .hearing import ReadError as ReadError
from .labelled import labelled_format as labelled_format
from .reading import (
    ENZ as ENZ,
    files as files,
    read as read,
    read_stream as read_stream,
    read_traces as read_traces,
    read_tree as read_tree,
)
from .segments import from_stream as from_stream, to_stream as to_stream
from .stations import remove_response as remove_response, rotate as rotate, with_inventory as with_inventory
from .writing import (
    SUFFIXES as SUFFIXES,
    growing as growing,
    write as write,
    written_format as written_format,
)
