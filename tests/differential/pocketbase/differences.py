"""The differences that we mean, each with its reason. Whatever is not named
here fails the test."""
import re

# (area, call, line): regular expressions, all of which must be found; reason.
MEANT = (
    ("", "", r"\.help: added", "fields have a help text since PocketBase 0.39"),
    ("", "", r"[tT]emplate\.body: ", "mails have words of our own"),
    ("collections", r"POST /api/collections$", r"\.fields\.\d+\.id: \"_clone_", "fields of a view keep their ids each time it is made"),
    ("collections", r"scaffolds", r"\.auth\.indexes\.", "names of indexes come from the collection's id, not from chance"),
    ("collections", r"POST /api/collections$", r"status 200 against 400: .*\"name\": \"_mine\"",
     "names with an underscore in front are the system's: a tenant's tables cannot be hidden or taken by them"),
    ("collections", r"POST /api/collections$", r"\.system: true against false", "collections that clients make can be deleted again"),
    ("collections", r"POST /api/collections$", r"\.hidden: false against true", "hashes of passwords are never shown, whatever a field says"),
    ("collections", r"POST /api/collections$", r"\.fields\.0\.(autogeneratePattern|min|max): ", "ids have 15 characters in every collection"),
    ("collections", r"POST /api/collections$", r"\.required: true against false", "members who come by single sign-on may have no address"),
    ("collections", r"POST /api/collections$", r"\.data\.(viewQuery: added|fields\.(1|code|message):)", "what else is wrong with a view's query is said in other words"),
    ("collections", r"POST /api/collections$", r"status 400 against 200: .*-- comment|status 400 against 200: .*\"name\": \"view_12\"", "a view's query may end in a comment"),
    ("collections", r"GET /api/collections/imported", r"\.fields\.[12]\.", "the id stays the first field after an import"),
    ("collections", r"DELETE /api/collections/(every|imported)$", r"status 400 against (204|404)",
     "there a view that the renaming of its table broke stops every deletion; here that renaming is refused or harmless"),
    ("records", r"POST /api/collections/nothere/records", r"\.message: ", "a collection that is not there is told in the same words by every route"),
    ("records", r"expand=author\.nothere", r"\.expand: added", "a path is expanded as far as it goes"),
    ("records", r"POST /api/collections/tasks/records$", r"against .*(An error occurred while loading|\"An error)|\.data\.title: missing",
     "what is no JSON object is refused in one way by every route; trailing bytes, names that come twice and halves of characters are no JSON here"),
    ("filters", r"%3A(isset|length|each)", r"status 200 against 400", "a modifier that means nothing for the field is refused instead of never matching"),
    ("admin", r"/api/logs", "", "there are no request logs of a tenant yet"),
    ("admin", r"GET /api/crons", "4 items", "there are no request logs of a tenant yet, and so no job that cleans them"),
    ("admin", r"/api/backups", "", "there are no backups by the API yet"),
    ("auth", "request-email-change", r"status 400 against 204",
     "the real server has no way to send mails where this runs"),
)


def excuse(area, call, line):
    for where, what, how, reason in MEANT:
        if re.search(where, area) and re.search(what, call) and re.search(how, line):
            return reason
    return ""
