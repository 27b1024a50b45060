/* SPDX-License-Identifier: MIT */
/*
 * Logging: the mask, the sink and the quoting that log.h promises. It exists so that the broker can
 * say what happened without knowing a clock, a file or syslog. It owns nothing but three words;
 * every thread runs it. It must not log by itself, and must not take a lock: its callers may hold
 * some.
 */
#include "broker/log.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

_Atomic uint32_t log_mask;

/* Written before the threads start (see log_set_sink()), so they need no protection of their own.
 */
static log_sink_fn *log_sink;
static void *log_sink_ctx;

/* clang-format off */
static const struct {
    enum log_level level;
    const char *name;
    char letter;
} levels[] = {
    { LEVEL_ERROR,       "error",       'E' },
    { LEVEL_WARNING,     "warning",     'W' },
    { LEVEL_NOTICE,      "notice",      'N' },
    { LEVEL_INFORMATION, "information", 'I' },
    { LEVEL_DEBUG,       "debug",       'D' },
    { LEVEL_SUBSCRIBE,   "subscribe",   'M' },
    { LEVEL_UNSUBSCRIBE, "unsubscribe", 'M' },
    { LEVEL_WEBSOCKETS,  "websockets",  'M' },
    { LEVEL_INTERNAL,    "internal",    'M' },
};
/* clang-format on */

void log_set_sink(log_sink_fn *sink, void *ctx, uint32_t mask)
{
    atomic_store(&log_mask, 0);
    log_sink = sink;
    log_sink_ctx = ctx;
    log_set_mask(mask);
}

void log_set_mask(uint32_t mask)
{
    atomic_store_explicit(&log_mask, log_sink ? mask & LOG_MASK_ALL : 0, memory_order_release);
}

void log_write_v(enum log_level level, const char *format, va_list args)
{
    char line[LOG_LINE_MAX];
    int len;

    if (!log_sink)
        return;
    len = vsnprintf(line, sizeof line, format, args);
    if (len < 0)
        return;
    if ((size_t)len >= sizeof line) {
        len = (int)sizeof line - 1;
        memcpy(line + len - 3, "...", 3);
    }
    /* A line break that slipped through without log_quote() must not begin a line of its own. */
    for (int i = 0; i < len; i++)
        if (line[i] == '\n' || line[i] == '\r')
            line[i] = ' ';
    log_sink(log_sink_ctx, level, line, (size_t)len);
}

void log_write(enum log_level level, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    log_write_v(level, format, args);
    va_end(args);
}

/* The length of the UTF-8 character at `p`, or 0 when it is not one. */
static size_t character_length(const uint8_t *p, size_t len, uint32_t *ret_code)
{
    static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
    size_t want = p[0] < 0x80   ? 1
                  : p[0] < 0xc2 ? 0
                  : p[0] < 0xe0 ? 2
                  : p[0] < 0xf0 ? 3
                  : p[0] < 0xf5 ? 4
                                : 0;
    uint32_t code;

    if (want == 0 || want > len)
        return 0;
    code = want == 1 ? p[0] : p[0] & (0xffu >> (want + 1));
    for (size_t i = 1; i < want; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3fu);
    }
    if (code < smallest[want] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    *ret_code = code;
    return want;
}

/* Not control characters, and none of those that turn the direction of the text around them: a
 * terminal would show another line than the one that was logged. */
static bool is_printable(uint32_t code)
{
    return code >= 0x20 && !(code >= 0x7f && code <= 0x9f) && !(code >= 0x200b && code <= 0x200f) &&
           !(code >= 0x2028 && code <= 0x202e) && !(code >= 0x2066 && code <= 0x2069) &&
           code != 0xfeff;
}

bool log_is_printable(const void *bytes, size_t len)
{
    const uint8_t *p = bytes;

    while (len > 0) {
        uint32_t code = 0;
        size_t used = character_length(p, len, &code);

        if (used == 0 || !is_printable(code))
            return false;
        p += used;
        len -= used;
    }
    return true;
}

/* Writes the character at `p` as it will be shown; returns how many bytes of `p` it took. */
static size_t quote_one(const uint8_t *p, size_t len, char shown[8], size_t *ret_shown)
{
    uint32_t code = 0;
    size_t used = character_length(p, len, &code);

    if (used && is_printable(code) && code != '\\') {
        memcpy(shown, p, used);
        *ret_shown = used;
        return used;
    }
    if (p[0] == '\\' || p[0] == '\n' || p[0] == '\r' || p[0] == '\t')
        *ret_shown = (size_t)snprintf(shown, 8, "\\%c",
                                      p[0] == '\n'   ? 'n'
                                      : p[0] == '\r' ? 'r'
                                      : p[0] == '\t' ? 't'
                                                     : '\\');
    else
        *ret_shown = (size_t)snprintf(shown, 8, "\\x%02x", p[0]);
    return 1;
}

char *log_quote(char *buf, size_t size, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    size_t at = 0;
    size_t cut = 0; /* the last place where "..." would still fit */

    for (size_t used = 0, i = 0; i < len; i += used) {
        char shown[8];
        size_t width;

        used = quote_one(p + i, len - i, shown, &width);
        if (at + 4 <= size)
            cut = at;
        if (at + width >= size) {
            snprintf(buf + cut, size - cut, "...");
            return buf;
        }
        memcpy(buf + at, shown, width);
        at += width;
    }
    buf[at] = '\0';
    return buf;
}

const char *log_level_name(enum log_level level)
{
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (levels[i].level == level)
            return levels[i].name;
    return "unknown";
}

char log_level_letter(enum log_level level)
{
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (levels[i].level == level)
            return levels[i].letter;
    return '?';
}
