/* SPDX-License-Identifier: MIT */
/*
 * The option table: every word that may begin a line of the configuration, with its type, its
 * range, its default and its manual. The parser (config.c), the sample configuration and the
 * reference (config_print.c) and the reload (config_reload.c) know options only through these rows;
 * a new option is a row and a field in config.h.
 *
 * All of it is constant, so any thread may read it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_status {
    OPTION_SUPPORTED,
    OPTION_TITLE,   /* not an option: begins a group in the generated files */
    OPTION_IGNORED, /* of mosquitto, harmless to leave out: a warning */
    OPTION_REFUSED, /* of mosquitto, restricts who may do what (or how): an error until it is
                       supported */
    OPTION_BRIDGE,  /* of mosquitto, belongs to a `connection` */
};

enum option_type {
    OPT_BOOL,         /* true, false, 1, 0 */
    OPT_COUNT,        /* a number from min to max, or one of the words */
    OPT_BYTES,        /* the same, with KB, MB, GB, KiB, MiB, GiB */
    OPT_SECONDS,      /* the same, with s, min, h, d */
    OPT_DURATION,     /* a number with h, d, w, m (30 days) or y, as mosquitto; 0 is never */
    OPT_CHOICE,       /* one of the words */
    OPT_DURABILITY,   /* "sync", or "interval" and milliseconds */
    OPT_SET,          /* one of the words per line; the lines add up */
    OPT_LIST,         /* several of the words in one line, separated by commas or blanks */
    OPT_TEXT,         /* the rest of the line, at most max bytes */
    OPT_PATH,         /* a file to write */
    OPT_FILE,         /* a file to read */
    OPT_DIRECTORY,    /* a directory to read */
    OPT_LOG_DEST,     /* as OPT_SET, and "file" with a path */
    OPT_LISTENER,     /* begins a listener: port and address or path */
    OPT_PORT,         /* of the listener that mosquitto 1 had by default */
    OPT_BIND_ADDRESS, /* the same */
    OPT_INCLUDE_DIR,
    OPT_PLUGIN, /* of mosquitto, where one of our options does the same */
};

enum option_scope {
    SCOPE_GLOBAL,   /* one value, wherever it stands; a field of struct config */
    SCOPE_LISTENER, /* of the `listener` above it; before the first one: of all that do not set it
                     */
    SCOPE_SECURITY, /* global, or of the listener when per_listener_settings is true */
};

struct option_word {
    const char *word;
    uint32_t value;
    const char *note; /* a warning to whoever uses it; mostly NULL */
};

struct option {
    const char *key; /* a trailing '*' stands for any ending; NULL in a title */
    enum option_status status;
    enum option_type type;
    enum option_scope scope;
    bool live;       /* a reload changes it; else it needs a restart */
    bool no_limit;   /* "-1" is another way to write 0 */
    bool deprecated; /* works, is left out of the sample */
    bool lines;      /* OPT_TEXT: several words, of which each line adds some */
    bool loaded;     /* OPT_FILE: read with the configuration, so it is not looked at before */
    uint16_t offset; /* of the field, in struct config or struct listener_config */
    uint16_t size;   /* of the field */
    uint64_t min, max;
    const char *preset; /* the default, as it would be written; NULL: zero or not set */
    const struct option_word *words; /* ends with a NULL word */
    const char *same_as;             /* the row whose field it sets; NULL: its own */
    const char *neutral;   /* refused, ignored: this value asks for nothing, and is fine */
    const char *example;   /* a value for the sample when there is no preset */
    const char *otherwise; /* what holds without a value, for the reference */
    const char *title;     /* of a group */
    const char *help;      /* whole sentences, one paragraph */
};

extern const struct option option_table[];
extern const size_t option_count;

#define OPTION_KEY_MAX   64   /* longer than any key */
#define OPTION_VALUE_MAX 4096 /* of one line, with its key */
#define OPTION_WHY_MAX   512

/* The row of that key, or NULL. */
const struct option *option_find(const char *key);

/* The index of a row in the table. */
size_t option_index(const struct option *option);

/* The supported key that was probably meant, or NULL when none is near. */
const char *option_suggest(const char *key);

/* The same for the words of a row. */
const char *option_suggest_word(const struct option *option, const char *word);

enum option_result { OPTION_OK, OPTION_WARNING, OPTION_ERROR };

/* Reads `value` (no leading or trailing blanks) and stores it in the struct at `base`. `again`: the
 * field was set before by the configuration, so OPT_SET and OPT_LOG_DEST add to it. On
 * OPTION_WARNING the value was stored, on OPTION_ERROR it was not; `why` (OPTION_WHY_MAX bytes)
 * then says why. */
enum option_result option_set(const struct option *option, void *base, const char *value,
                              bool again, char *why);

/* Writes the stored value as it would be written in the file (empty: not set); returns `buf`. */
char *option_format(const struct option *option, const void *base, char *buf, size_t size);

/* Copies the field from one struct to another of the same kind; text is duplicated. */
void option_copy(const struct option *option, void *to, const void *from);

/* Frees the text of the field, if it is one, and zeroes it. */
void option_clear(const struct option *option, void *base);

/* A copy that ends in NUL; aborts without memory. */
char *option_keep_text(const char *text, size_t len);
