"""Writes docs/reference.md from the catalogs of a server that has vectorgpu: every object of it, every setting.

    reference.py                a private server of PG_CONFIG is started for it
    reference.py --dsn DSN      a server that runs; the extension is created in the database and removed again

What stands there are the objects' own comments: who adds an object writes its COMMENT, and runs this. A test compares.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import psycopg
from cluster import bindir_of, temporary_cluster

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference.md"

INTRODUCTION = """# Reference

Every object of the extension and every setting. Written by `scripts/reference.py` from the catalogs; do not edit:
change the object's `COMMENT` in `sql/`, or the setting's text in `src/guc.rs`. [guide.md](guide.md) says how to use
them.

Types, their operators and functions are in the schema that `CREATE EXTENSION` names; all else is in the schema
`vectorgpu`.
"""

# Objects that belong to the extension; a type's own array and row types do not.
MEMBERS = """
    WITH member AS (
        SELECT classid, objid FROM pg_depend
        WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
          AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'vectorgpu'))
"""

TYPES = """
    SELECT o.typname, obj_description(o.oid, 'pg_type') FROM pg_type o JOIN member ON objid = o.oid
    WHERE classid = 'pg_type'::regclass ORDER BY 1"""
OPERATORS = """
    SELECT format('%s %s %s', o.oprleft::regtype, o.oprname, o.oprright::regtype), o.oprresult::regtype::text,
           obj_description(o.oid, 'pg_operator')
    FROM pg_operator o JOIN member ON objid = o.oid WHERE classid = 'pg_operator'::regclass
    ORDER BY o.oprleft::regtype::text COLLATE "C", o.oprname COLLATE "C" """
CLASSES = """
    SELECT a.amname, o.opcname || CASE WHEN o.opcdefault THEN ' (default)' ELSE '' END, o.opcintype::regtype::text,
           obj_description(o.oid, 'pg_opclass')
    FROM pg_opclass o JOIN member ON objid = o.oid JOIN pg_am a ON a.oid = o.opcmethod
    WHERE classid = 'pg_opclass'::regclass ORDER BY a.amname COLLATE "C", o.opcname COLLATE "C" """
CASTS = """
    SELECT o.castsource::regtype::text, o.casttarget::regtype::text,
           CASE o.castcontext WHEN 'i' THEN 'implicit' WHEN 'a' THEN 'assignment' ELSE 'explicit' END,
           obj_description(o.oid, 'pg_cast')
    FROM pg_cast o JOIN member ON objid = o.oid WHERE classid = 'pg_cast'::regclass
    ORDER BY o.castsource::regtype::text COLLATE "C", o.casttarget::regtype::text COLLATE "C" """
ROUTINES = """
    SELECT o.proname || '(' || pg_get_function_arguments(o.oid) || ')', pg_get_function_result(o.oid),
           CASE o.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END,
           CASE o.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' ELSE 'unsafe' END,
           obj_description(o.oid, 'pg_proc'), o.prokind = 'a', n.nspname = 'vectorgpu', {private}
    FROM pg_proc o JOIN member ON objid = o.oid JOIN pg_namespace n ON n.oid = o.pronamespace
    WHERE classid = 'pg_proc'::regclass ORDER BY o.proname COLLATE "C", pg_get_function_arguments(o.oid) COLLATE "C" """
# Functions that nobody calls by name: of operators, casts, types, aggregates, operator classes, views.
PRIVATE = """
    obj_description(o.oid, 'pg_proc') ~ '^(implementation of|support function|ivf support|handler of)'
    OR obj_description(o.oid, 'pg_proc') ~ '^(reads|writes|prints) the'
    OR o.proname ~ '^(array_to_|(vector|halfvec|sparsevec)$)'
    OR EXISTS (SELECT FROM pg_cast c WHERE c.castfunc = o.oid)
    OR EXISTS (SELECT FROM pg_aggregate g WHERE o.oid IN (g.aggtransfn, g.aggfinalfn, g.aggcombinefn))
    OR EXISTS (SELECT FROM pg_amproc p WHERE p.amproc = o.oid)"""
VIEWS = """
    SELECT n.nspname || '.' || o.relname,
           (SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum)
            FROM pg_attribute WHERE attrelid = o.oid AND attnum > 0),
           obj_description(o.oid, 'pg_class')
    FROM pg_class o JOIN member ON objid = o.oid JOIN pg_namespace n ON n.oid = o.relnamespace
    WHERE classid = 'pg_class'::regclass AND o.relkind IN ('r', 'v') ORDER BY 1"""
SETTINGS = """
    SELECT name, boot_val || coalesce(' ' || unit, ''),
           CASE WHEN enumvals IS NOT NULL THEN array_to_string(enumvals, ', ')
                WHEN vartype = 'bool' THEN 'on, off'
                WHEN min_val IS NOT NULL THEN min_val || ' to ' || max_val ELSE 'text' END,
           concat_ws(' ', short_desc, extra_desc)
    FROM pg_settings WHERE name LIKE 'vectorgpu.%' ORDER BY name COLLATE "C" """


def main() -> int:
    """Parses the command line and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn", help="a server that runs")
    options = parser.parse_args()
    if options.dsn:
        text = reference(options.dsn)
    else:
        bindir = bindir_of(os.environ.get("PG_CONFIG", "pg_config"))
        with temporary_cluster(ROOT / "target" / "reference-cluster", bindir) as cluster:
            text = reference(cluster.dsn("postgres"))
    REFERENCE.parent.mkdir(exist_ok=True)
    REFERENCE.write_text(text, encoding="utf-8")
    return 0


def reference(dsn: str) -> str:
    """The reference of the extension that the server has."""
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vectorgpu")
        # The library defines its settings when it is loaded.
        connection.execute("LOAD 'vectorgpu'")
        text = write(connection)
        connection.rollback()
    return text


def write(connection: psycopg.Connection) -> str:
    """All sections."""

    def ask(sql: str) -> list[tuple]:
        return connection.execute(MEMBERS + sql).fetchall()

    routines = ask(ROUTINES.format(private=PRIVATE))
    functions = [row for row in routines if not row[6]]
    sections = [
        table("Types", ("type", "what it is"), ask(TYPES)),
        table("Operators", ("operator", "returns", "what it gives"), ask(OPERATORS)),
        table("Operator classes", ("access method", "class", "type", "what for"), ask(CLASSES)),
        table("Casts", ("from", "to", "context", "what it gives"), ask(CASTS)),
        table("Aggregates", ROUTINE_HEAD, (row[:5] for row in functions if row[5])),
        table("Functions", ROUTINE_HEAD, (row[:5] for row in functions if not row[5] and not row[7])),
        table("Functions of the schema vectorgpu", ROUTINE_HEAD, (row[:5] for row in routines if row[6])),
        table("Views and tables of the schema vectorgpu", ("relation", "columns", "what it shows"), ask(VIEWS)),
        table("Settings", ("setting", "default", "values", "what it does"), ask(SETTINGS)),
        table(
            "Functions behind types, operators, casts, aggregates and indexes",
            ROUTINE_HEAD,
            (row[:5] for row in functions if not row[5] and row[7]),
        ),
    ]
    return "\n".join([INTRODUCTION, *sections])


ROUTINE_HEAD = ("function", "returns", "volatility", "parallel", "what it gives")


def table(title: str, head: tuple[str, ...], rows: Iterable[tuple]) -> str:
    """A section with a table; the last column is text, the others are SQL."""
    lines = [f"## {title}", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        *code, text = (str(cell if cell is not None else "").replace("|", "\\|") for cell in row)
        cells = [f"`{cell}`" if cell else "" for cell in code]
        lines.append("| " + " | ".join([*cells, text]) + " |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
