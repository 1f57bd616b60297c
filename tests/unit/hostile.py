"""What a process, a pod or a path may be called by somebody who means harm: 200 strings, none twice."""

KNOWN = (
    *('quote"quote', "back\\slash", "line\nfeed", "\\n is not a line feed", 'a="b",c="d"} 1\nforged_total 23'),
    *("\x1b[31mred", "\x1b[2J", "\x1b]0;owned\x07", "\x9b31m", "\x85next line", "\u2028", "\u2029", "\r\n", "\x00"),
    *("\u202eright to left", "zero\u200bwidth", "\ufeffmark", "naïve Grüße 日本語 🐝", "𝕏", "\x7f"),
    *("<script>alert(1)</script>", "${jndi:ldap://x}", "$(reboot)", "`id`", "';--", "%s%n", "{}", "{{7*7}}"),
    *('","event.name":"forged', '"}\n{"time":"forged', "\\u0000", "\\", '"', "null", "NaN", "[red]x[/red]", ""),
    *("\udce9", "caf\udce9", "\ud800", "\udfff\ud800", "a" * 5000, "é" * 5000, "\x1b" * 3000, "\udc80" * 2000),
)
CONTROLS = tuple(chr(code) for code in (*range(0x20), *range(0x80, 0xA0)))
SURROUNDED = tuple(f"pod{control}name" for control in CONTROLS)
MORE = tuple(f"{prefix}{text}" for prefix in ("/", "x") for text in KNOWN)

STRINGS = tuple(dict.fromkeys((*KNOWN, *CONTROLS, *SURROUNDED, *MORE)))[:200]
