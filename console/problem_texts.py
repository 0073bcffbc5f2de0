"""Problem texts of the console: the cause and the remedy of each code."""

from domain.problem_text import add_texts

add_texts(
    {
        "console-address": ("the console cannot listen at {host}:{port}: {reason}", "name another --port"),
        "console-body-too-large": ("the form is larger than {most} bytes", "act on fewer at a time"),
        "console-busy": (
            "all pages that are being read wait for the database, for more than {seconds:g} s",
            "it is slow or away: the page is asked for again by itself",
        ),
        "console-cause-gone": ("nothing has the cause {cause} any more", "see what needs a person now, at /"),
        "console-cross-site": (
            "the form was sent from another site",
            "open the console itself, and send it from there",
        ),
        "console-form-stale": ("the form is not of this session", "load the page again, and send the form from it"),
        "console-host-unknown": ("the console is not reached as {host}", "use the address that it printed"),
        "console-not-installed": ("the console needs starlette, jinja2 and uvicorn", "install tenantry[console]"),
        "console-nothing-named": ("no scope is named", "choose some on the page"),
        "console-page-unknown": ("there is no page {path}", "begin at /"),
        "console-query-too-long": ("the address is longer than {most} characters", "leave some filters out"),
        "console-role-impossible": (
            "this database user may not make the role {role}, with which the console reads",
            "give it CREATEROLE, or name a login that only reads in TENANTRY_CONSOLE_READ_URL",
        ),
        "console-role-missing": (
            "{subject} is not {role}",
            "ask for one of the groups that TENANTRY_CONSOLE_{name}_GROUPS names",
        ),
        "console-too-many": ("{count} are named", "act on {most} at a time at most"),
        "console-unauthenticated": (
            "the console does not know who asks",
            "open the address with the token that `tenantry console` printed, or come through the proxy",
        ),
        "console-value-unknown": ("{value} is no {name}", "use {known}"),
        "console-without-proxy": (
            "at {host} anybody could reach the console",
            "name the proxies in TENANTRY_CONSOLE_PROXIES, or listen on 127.0.0.1",
        ),
    }
)
