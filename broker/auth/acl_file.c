/* SPDX-License-Identifier: MIT */
/*
 * See acl_file.h. Reads what mosquitto reads, in its sense; what mosquitto refuses is refused here
 * with its line and what to write instead, all of it in one run. A file that is wrong anywhere gives
 * no rules at all: half of them would let somebody in, or lock somebody out.
 */
#include "broker/auth/acl_file.h"

#include "broker/auth/acl.h"
#include "broker/log.h"
#include "broker/problems.h"
#include "broker/whole_file.h"
#include "mqtt/topic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FILE_MAX = 64 << 20,
    FIRST_CHUNK = 64 << 10,
    LINE_MAX = 65535 + 64, /* a filter with what stands before it */
};

struct reader {
    struct acl *acl;
    struct problems *problems;
    const char *name;
    unsigned line;
    struct span user; /* whose rules follow; data NULL: of clients without a user name */
};

/* ---- words ---- */

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

static struct span trim(struct span text)
{
    while (text.len && (is_blank(text.data[text.len - 1]) || text.data[text.len - 1] == '\r'))
        text.len--;
    while (text.len && is_blank(*text.data))
        text = span_of(text.data + 1, text.len - 1);
    return text;
}

/* Cuts the first word off; the rest begins with its first letter. */
static struct span next_word(struct span *rest)
{
    struct span word = { .data = rest->data };
    while (word.len < rest->len && !is_blank(rest->data[word.len]))
        word.len++;
    *rest = trim(span_of(rest->data + word.len, rest->len - word.len));
    return word;
}

static bool is_word(struct span word, const char *text)
{
    return span_equal(word, span_str(text));
}

#define QUOTED(span) log_quote((char[LOG_QUOTE_MAX]){ 0 }, LOG_QUOTE_MAX, (span).data, (span).len)

#define COMPLAIN(reader, severity, ...)                                                            \
    problems_add((reader)->problems, (severity), (reader)->name, (reader)->line, __VA_ARGS__)

/* ---- lines ---- */

static const struct {
    const char *word;
    unsigned access;
} accesses[] = {
    { "read", ACL_READ },
    { "write", ACL_WRITE },
    { "readwrite", ACL_READ | ACL_WRITE },
    { "deny", ACL_DENY },
};
enum { ACCESSES = sizeof accesses / sizeof *accesses };

static unsigned find_access(struct span word)
{
    unsigned i = 0;
    while (i < ACCESSES && !is_word(word, accesses[i].word))
        i++;
    return i;
}

static bool has_placeholder(struct span filter)
{
    for (size_t i = 0; i + 1 < filter.len; i++)
        if (filter.data[i] == '%' && (filter.data[i + 1] == 'u' || filter.data[i + 1] == 'c'))
            return true;
    return false;
}

/* Rules that are read as they stand, and are probably not what was meant. */
static void warn(struct reader *reader, const char *keyword, bool pattern, struct span filter,
                 bool alone)
{
    if (alone && find_access(filter) < ACCESSES)
        COMPLAIN(reader, PROBLEM_WARNING,
                 "\"%s %s\" names no topic, so this is a rule for the topic \"%s\"", keyword,
                 QUOTED(filter), QUOTED(filter));
    if (pattern != has_placeholder(filter))
        COMPLAIN(reader, PROBLEM_WARNING, "%s \"%s\"%s", keyword, QUOTED(filter),
                 pattern ? " has no %u or %c, so it is a rule for everybody"
                         : ": %u and %c stand for a name in a pattern only");
}

/* "topic read a/b", "topic a/b"; a filter with blanks in it needs the word before it, as in
 * mosquitto. */
static void read_rule(struct reader *reader, const char *keyword, bool pattern, struct span rest)
{
    struct span filter = rest, word = next_word(&rest);
    unsigned access = ACL_READ | ACL_WRITE;
    if (filter.len == 0) {
        COMPLAIN(reader, PROBLEM_ERROR, "%s needs a topic filter", keyword);
        return;
    }
    if (rest.len > 0) {
        unsigned found = find_access(word);
        if (found == ACCESSES) {
            COMPLAIN(reader, PROBLEM_ERROR,
                     "\"%s\" is not read, write, readwrite or deny; a topic filter with blanks in "
                     "it needs one of them before it",
                     QUOTED(word));
            return;
        }
        access = accesses[found].access;
        filter = rest;
    }
    if (filter.len > 65535 || !mqtt_utf8_valid(filter) || !mqtt_topic_filter_valid(filter)) {
        const char *cure = memchr(filter.data, '#', filter.len) &&
                                   memchr(filter.data, ' ', filter.len)
                               ? "; a comment needs a line of its own"
                               : "";
        COMPLAIN(reader, PROBLEM_ERROR, "\"%s\" is not a valid topic filter%s", QUOTED(filter),
                 cure);
        return;
    }
    struct span group, shared;
    if (mqtt_share_split(filter, &group, &shared)) {
        COMPLAIN(reader, PROBLEM_WARNING,
                 "\"%s\" has no effect: a shared subscription is allowed what \"%s\" is",
                 QUOTED(filter), QUOTED(shared));
        return;
    }
    warn(reader, keyword, pattern, filter, rest.len == 0);
    acl_add(reader->acl, &(struct acl_rule_source){ .pattern = pattern,
                                                    .user = reader->user,
                                                    .filter = filter,
                                                    .access = access,
                                                    .line = reader->line });
}

static void read_topic(struct reader *reader, struct span rest)
{
    read_rule(reader, "topic", false, rest);
}

static void read_pattern(struct reader *reader, struct span rest)
{
    read_rule(reader, "pattern", true, rest);
}

static void read_user(struct reader *reader, struct span rest)
{
    if (rest.len == 0)
        COMPLAIN(reader, PROBLEM_ERROR, "user needs a name");
    else if (rest.len > 65535 || !mqtt_utf8_valid(rest))
        COMPLAIN(reader, PROBLEM_ERROR, "the name of the user is not valid UTF-8");
    else
        reader->user = rest;
}

static const struct {
    const char *word;
    void (*read)(struct reader *reader, struct span rest);
} keywords[] = { { "topic", read_topic }, { "pattern", read_pattern }, { "user", read_user } };

static void read_line(struct reader *reader, struct span line)
{
    line = trim(line);
    if (line.len == 0 || *line.data == '#')
        return;
    if (line.len > LINE_MAX) {
        COMPLAIN(reader, PROBLEM_ERROR, "the line is too long: %zu bytes", line.len);
        return;
    }
    struct span rest = line, word = next_word(&rest);
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        if (!is_word(word, keywords[i].word))
            continue;
        keywords[i].read(reader, rest);
        return;
    }
    COMPLAIN(reader, PROBLEM_ERROR, "\"%s\" is not topic, user or pattern", QUOTED(word));
}

/* ---- the text ---- */

struct acl *acl_file_parse(const char *text, size_t len, const char *name,
                           struct problems *problems)
{
    static const char mark[3] = { '\xef', '\xbb', '\xbf' }; /* some editors begin a file with it */
    size_t errors = problems->errors;
    size_t at = len >= sizeof mark && memcmp(text, mark, sizeof mark) == 0 ? sizeof mark : 0;
    struct reader reader = { .acl = acl_new(name), .problems = problems, .name = name };

    while (at < len) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t line_len = end ? (size_t)(end - text) - at : len - at;
        reader.line++;
        read_line(&reader, span_of(text + at, line_len));
        at += line_len + 1;
    }
    acl_finish(reader.acl, span_of(text, len));
    if (problems->errors == errors)
        return reader.acl;
    acl_unref(reader.acl);
    return NULL;
}

struct acl *acl_file_load(const char *path, struct problems *problems)
{
    size_t len;
    char *text = whole_file_read(path, FILE_MAX, &len);
    if (!text)
        return NULL;
    struct acl *acl = acl_file_parse(text, len, path, problems);
    free(text);
    return acl;
}
