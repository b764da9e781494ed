"""Who may include whom, and where SQL and foreign libraries live (README: map of the house)."""
import re
import sys

from tree import SERVICES, code_only, files, read, report

# header of a foreign library -> file names (regular expressions) that are its home
HOMES = {
    r"sqlite3\.h": r"libkombi/src/db_sqlite\w*\.[ch]$",
    r"libpq-fe\.h|libpq/": r"libkombi/src/db_pgsql\w*\.[ch]$",
    r"curl/": r"libkombi/src/(fetch\w*|mail)\.[ch]$",
    r"crypt\.h": r"libkombi/src/password\.c$",
    r"mbedtls/": r"libkombi/src/(crypto|tls)\w*\.[ch]$",
    r"nettle/|gmp\.h": r"libkombi/src/crypto\w*\.[ch]$",
    r"(cjson/)?cJSON\.h": r"libkombi/src/json\w*\.[ch]$",
    r"yaml\.h": r"libkombi/src/yaml\.c$",
    r"pcre2\.h": r"libkombi/src/regex\.c$",
    r"archive(_entry)?\.h": r"libkombi/src/archive\.c$",
    r"hiredis/|async\.h": r"(libkombi/src/redis\w*\.[ch]|gateway/\w*redis\w*\.[ch])$",
    r"event2/": r"(libkombi/src/.*\.[ch]|gateway/.*\.[ch]|tests/.*\.[ch])$",
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
SQL = re.compile(r'"\s*(SELECT\s|INSERT\s+(OR\s+\w+\s+)?INTO|UPDATE\s+\w+|DELETE\s+FROM|CREATE\s+TABLE)')


def service_of(path):
    head = path.split("/")[0]
    return head if head in SERVICES else None


def check_includes(path, text, problems):
    service = service_of(path)
    for match in INCLUDE.finditer(text):
        where = f"{path}:{text.count(chr(10), 0, match.start()) + 1}"
        name = match.group(2)
        for header, home in HOMES.items():
            if match.group(1) == "<" and re.match(header, name) and not re.search(home, path):
                problems.append(f"{where}: <{name}> is used outside of its home")
        other = name.split("/")[0] if "/" in name else name.removesuffix(".h")
        if service and other in SERVICES and other != service:
            problems.append(f"{where}: {service} includes {other}'s header; services meet over HTTP only")
        if path.startswith("libkombi/") and other in SERVICES:
            problems.append(f"{where}: libkombi includes a service's header")


def check_sql(path, text, problems):
    if not service_of(path):
        return
    store = path.endswith("_store.c")
    bare = code_only(text)
    if store and re.search(r"\bkb_request\b", bare):
        problems.append(f"{path}: a store sees kb_request")
    if not store:
        for match in SQL.finditer(code_only(text, keep_strings=True)):
            line = text.count("\n", 0, match.start()) + 1
            problems.append(f"{path}:{line}: SQL outside of a *_store.c file")


def check_plugin(path, text, problems):
    if path.startswith("gateway/plugins/"):
        for match in INCLUDE.finditer(text):
            if match.group(1) == '"' and match.group(2).split("/")[-1] not in ("gateway.h", "plugin.h"):
                problems.append(f"{path}: a plugin includes gateway.h only, not {match.group(2)}")


def main():
    problems = []
    for path in files("*.c", "*.h"):
        text = read(path)
        check_includes(path, text, problems)
        check_sql(path, text, problems)
        check_plugin(path, text, problems)
    return report(problems)


sys.exit(main())
