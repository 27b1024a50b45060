/* SPDX-License-Identifier: MIT */
/*
 * See acl.h. A section is the rules of one user, or the patterns: what denies stands in front, then
 * what allows, each in the order of the file, so that the first rule that decides is the answer.
 * Few rules are looked at one by one; many without placeholders go into a topic tree, which finds
 * all that match at once.
 *
 * A pattern is never written out: a cursor walks over it and reads the client's own names where a
 * placeholder stands. Names with a wildcard in them match no pattern, as in mosquitto.
 */
#include "broker/auth/acl.h"

#include "broker/alloc.h"
#include "broker/err.h"
#include "broker/options.h"
#include "mqtt/topic.h"
#include "mqtt/tree.h"

#include <stdatomic.h>
#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
    FIRST_BUCKETS = 16,
    TREE_FROM = 24, /* rules; below, looking at each is as fast */
};

struct acl_rule {
    char *filter; /* owned */
    uint32_t len;
    uint32_t line;
    uint8_t access;      /* OR of enum acl_access, 0 denies */
    bool names, of_user; /* has a placeholder; has %u */
};

struct acl_section {
    struct acl_section *next; /* in its bucket */
    struct acl_rule *rules;
    uint32_t count, room, denials; /* denials: how many of them, in front */
    struct tree *tree; /* of all rules, when they are many; the subscriber is the rule */
    uint32_t user_len;
    char user[];
};

struct acl {
    atomic_uint refs; /* (a) all else is immutable after acl_finish() */
    char *name;
    uint64_t print[2];             /* tells two texts apart */
    struct acl_section *anonymous; /* NULL: none */
    struct acl_section *patterns;
    struct acl_section **users; /* by hash of the name, chained; `room` is a power of two */
    size_t room, count;
};

/* ---- making ---- */

static void *zeroed(size_t count, size_t size)
{
    return must_have(calloc(count, size)); /* its size is the operator's choice */
}

struct acl *acl_new(const char *name)
{
    struct acl *acl = zeroed(1, sizeof *acl);
    atomic_init(&acl->refs, 1);
    acl->name = option_keep_text(name, strlen(name));
    acl->room = FIRST_BUCKETS;
    acl->users = zeroed(acl->room, sizeof(struct acl_section *));
    return acl;
}

static struct acl_section **bucket_of(const struct acl *acl, struct span user)
{
    return &acl->users[XXH3_64bits(user.data, user.len) & (acl->room - 1)];
}

static struct span name_of(const struct acl_section *section)
{
    return span_of(section->user, section->user_len);
}

static struct acl_section *find_user(const struct acl *acl, struct span user)
{
    struct acl_section *section = *bucket_of(acl, user);
    while (section && !span_equal(name_of(section), user))
        section = section->next;
    return section;
}

static void link_user(struct acl *acl, struct acl_section *section)
{
    struct acl_section **head = bucket_of(acl, name_of(section));
    section->next = *head;
    *head = section;
}

static void grow_users(struct acl *acl)
{
    struct acl_section **old = acl->users;
    size_t room = acl->room;
    acl->room = room * 2;
    acl->users = zeroed(acl->room, sizeof(struct acl_section *));
    for (size_t i = 0; i < room; i++)
        for (struct acl_section *section = old[i], *next; section; section = next) {
            next = section->next;
            link_user(acl, section);
        }
    free(old);
}

static struct acl_section *section_new(struct span user)
{
    struct acl_section *section = zeroed(1, sizeof *section + user.len);
    section->user_len = (uint32_t)user.len;
    if (user.len)
        memcpy(section->user, user.data, user.len);
    return section;
}

static struct acl_section *nameless(struct acl_section **section)
{
    if (!*section)
        *section = section_new((struct span){ 0 });
    return *section;
}

static struct acl_section *section_for(struct acl *acl, const struct acl_rule_source *source)
{
    if (source->pattern)
        return nameless(&acl->patterns);
    if (!source->user.data)
        return nameless(&acl->anonymous);
    struct acl_section *section = find_user(acl, source->user);
    if (section)
        return section;
    if (acl->count >= acl->room)
        grow_users(acl);
    section = section_new(source->user);
    link_user(acl, section);
    acl->count++;
    return section;
}

static bool has_placeholder(struct span filter, uint8_t letter)
{
    for (size_t i = 0; i + 1 < filter.len; i++)
        if (filter.data[i] == '%' && filter.data[i + 1] == letter)
            return true;
    return false;
}

void acl_add(struct acl *acl, const struct acl_rule_source *source)
{
    struct acl_section *section = section_for(acl, source);
    if (section->count == section->room) {
        section->room = section->room ? section->room * 2 : 4;
        section->rules = must_have(realloc(section->rules, section->room * sizeof *section->rules));
    }
    struct acl_rule rule = {
        .filter = option_keep_text((const char *)source->filter.data, source->filter.len),
        .len = (uint32_t)source->filter.len,
        .line = source->line,
        .access = (uint8_t)source->access,
        .of_user = source->pattern && has_placeholder(source->filter, 'u'),
    };
    rule.names = rule.of_user || (source->pattern && has_placeholder(source->filter, 'c'));
    section->rules[section->count++] = rule;
}

static int by_rank(const void *left, const void *right)
{
    const struct acl_rule *a = left, *b = right;
    int order = (a->access != ACL_DENY) - (b->access != ACL_DENY);
    return order ? order : (a->line > b->line) - (a->line < b->line);
}

static struct span filter_of(const struct acl_rule *rule)
{
    return span_of(rule->filter, rule->len);
}

/* A filter that is both allowed and denied, or allowed in two lines, is one entry each. */
static void grow_tree(struct acl_section *section)
{
    for (uint32_t i = 0; i < section->count; i++)
        if (section->rules[i].names)
            return; /* the tree knows no placeholders */
    section->tree = must_have(tree_new(0));
    for (uint32_t i = 0; i < section->count; i++)
        if (tree_insert(section->tree, filter_of(&section->rules[i]),
                        &(struct tree_entry){ .subscriber = &section->rules[i] }) == TREE_NO_MEMORY)
            abort();
}

static void section_finish(struct acl_section *section)
{
    if (!section)
        return;
    qsort(section->rules, section->count, sizeof *section->rules, by_rank);
    while (section->denials < section->count && section->rules[section->denials].access == ACL_DENY)
        section->denials++;
    if (section->count >= TREE_FROM)
        grow_tree(section);
}

void acl_finish(struct acl *acl, struct span text)
{
    XXH128_hash_t print = XXH3_128bits(text.data, text.len);
    acl->print[0] = print.low64;
    acl->print[1] = print.high64;
    section_finish(acl->anonymous);
    section_finish(acl->patterns);
    for (size_t i = 0; i < acl->room; i++)
        for (struct acl_section *section = acl->users[i]; section; section = section->next)
            section_finish(section);
}

struct acl *acl_ref(struct acl *acl)
{
    if (acl)
        atomic_fetch_add_explicit(&acl->refs, 1, memory_order_relaxed);
    return acl;
}

static void section_free(struct acl_section *section)
{
    if (!section)
        return;
    for (uint32_t i = 0; i < section->count; i++)
        free(section->rules[i].filter);
    if (section->tree)
        tree_free(section->tree);
    free(section->rules);
    free(section);
}

void acl_unref(struct acl *acl)
{
    if (!acl || atomic_fetch_sub_explicit(&acl->refs, 1, memory_order_acq_rel) != 1)
        return;
    section_free(acl->anonymous);
    section_free(acl->patterns);
    for (size_t i = 0; i < acl->room; i++)
        for (struct acl_section *section = acl->users[i], *next; section; section = next) {
            next = section->next;
            section_free(section);
        }
    free(acl->users);
    free(acl->name);
    free(acl);
}

bool acl_same(const struct acl *a, const struct acl *b)
{
    if (!a || !b)
        return a == b;
    return a->print[0] == b->print[0] && a->print[1] == b->print[1];
}

void acl_patterns(const struct acl *acl, acl_pattern_fn *fn, void *ctx)
{
    const struct acl_section *section = acl->patterns;
    for (uint32_t i = 0; section && i < section->count; i++)
        fn(ctx, section->rules[i].access, filter_of(&section->rules[i]));
}

/* ---- a rule against a filter ---- */

/* Walks over a rule as it reads for this client. */
struct cursor {
    const uint8_t *at, *end;
    const struct acl_client *names; /* NULL: '%' is a letter like any other */
    const uint8_t *name, *name_end; /* of the placeholder that is being read */
};

static struct cursor cursor_of(const struct acl_rule *rule, const struct acl_client *client)
{
    const uint8_t *text = (const uint8_t *)rule->filter;
    return (
        struct cursor){ .at = text, .end = text + rule->len, .names = rule->names ? client : NULL };
}

/* The next byte, without taking it; -1 at the end. */
static int peek(struct cursor *c)
{
    for (;;) {
        if (c->name < c->name_end)
            return *c->name;
        if (c->at == c->end)
            return -1;
        if (!c->names || *c->at != '%' || c->end - c->at < 2 ||
            (c->at[1] != 'u' && c->at[1] != 'c'))
            return *c->at;
        struct span name = c->at[1] == 'u' ? c->names->user : c->names->client_id;
        c->name = name.data;
        c->name_end = name.len ? name.data + name.len : name.data;
        c->at += 2;
    }
}

static void take(struct cursor *c)
{
    if (c->name < c->name_end)
        c->name++;
    else
        c->at++;
}

/* The rest is exactly "/#", which stands for nothing as well. */
static bool rest_is_any(struct cursor c)
{
    if (peek(&c) != '/')
        return false;
    take(&c);
    return peek(&c) == '#';
}

static bool is_wildcard(int byte)
{
    return byte == '+' || byte == '#';
}

/* One level of both; both cursors stand at its end afterwards. `all`: see relates(). */
static bool level_relates(struct cursor *c, const uint8_t **f, const uint8_t *end, bool all)
{
    if (peek(c) == '+') {
        take(c);
        while (*f < end && **f != '/')
            ++*f;
        return true;
    }
    if (*f < end && **f == '+') {
        ++*f;
        while (peek(c) >= 0 && peek(c) != '/')
            take(c);
        return !all;
    }
    while (*f < end && **f != '/' && peek(c) == **f) {
        take(c);
        ++*f;
    }
    return true; /* what differs is seen by whoever looks for the end of the level */
}

/*
 * How a rule and a filter stand to each other. `all`: whether the rule matches every topic that the
 * filter matches; else whether there is any topic that both match. A topic is a filter without
 * wildcards, so for topics both are the same question. `all` errs towards no ("+/#" and "#").
 */
static bool relates(struct cursor c, struct span filter, bool all)
{
    const uint8_t *f = filter.data, *end = f + filter.len;
    int first = peek(&c);
    if (filter.len == 0 || first < 0)
        return false;
    if ((is_wildcard(first) && *f == '$') ||
        (is_wildcard(*f) && first == '$')) /* [MQTT5-4.7.2-1] */
        return false;
    for (;;) { /* once per level; both stand at its start */
        if (peek(&c) == '#')
            return true;
        if (f < end && *f == '#')
            return !all;
        if (!level_relates(&c, &f, end, all))
            return false;
        if (f == end)
            return peek(&c) < 0 || rest_is_any(c);
        if (peek(&c) < 0)
            return !all && end - f == 2 && f[0] == '/' && f[1] == '#';
        if (peek(&c) != '/' || *f != '/')
            return false;
        take(&c);
        f++;
    }
}

/* ---- asking ---- */

/* Names that could pass for a wildcard (or are not there) make no topic of their own. */
static bool applies(const struct acl_rule *rule, const struct acl_client *client)
{
    return !rule->of_user || client->user.data;
}

static bool matches(const struct acl_rule *rule, const struct acl_client *client, struct span topic)
{
    if (!rule->names)
        return mqtt_filter_matches(filter_of(rule), topic);
    return applies(rule, client) && relates(cursor_of(rule, client), topic, true);
}

/* What the rules of a section say: the first of those that deny, and if there is none, whether one
 * allows. */
struct finding {
    enum acl_access access;
    const struct acl_rule *denies;
    bool allows;
};

static void find_in_tree(void *ctx, const struct tree_entry *entry)
{
    struct finding *finding = ctx;
    const struct acl_rule *rule = entry->subscriber;
    if (rule->access == ACL_DENY) {
        if (!finding->denies || rule->line < finding->denies->line)
            finding->denies = rule;
    } else if (rule->access & finding->access)
        finding->allows = true;
}

static struct finding ask_section(const struct acl_section *section,
                                  const struct acl_client *client, enum acl_access access,
                                  struct span topic)
{
    struct finding finding = { .access = access };
    if (!section)
        return finding;
    if (section->tree) {
        tree_match(section->tree, topic, find_in_tree, &finding);
        return finding;
    }
    for (uint32_t i = 0; i < section->count; i++) {
        const struct acl_rule *rule = &section->rules[i];
        if ((rule->access != ACL_DENY && !(rule->access & access)) || !matches(rule, client, topic))
            continue;
        if (rule->access == ACL_DENY)
            finding.denies = rule;
        else
            finding.allows = true;
        break;
    }
    return finding;
}

static const struct acl_section *own_section(const struct acl *acl, const struct acl_client *client)
{
    return client->user.data ? find_user(acl, client->user) : acl->anonymous;
}

static bool has_wildcard(struct span name)
{
    return name.len && mqtt_filter_has_wildcard(name);
}

/* The patterns, unless a name of the client could pass for a wildcard in them. */
static const struct acl_section *patterns_for(const struct acl *acl,
                                              const struct acl_client *client)
{
    if (!acl->patterns || has_wildcard(client->user) || has_wildcard(client->client_id))
        return NULL;
    return acl->patterns;
}

static struct finding ask(const struct acl *acl, const struct acl_client *client,
                          enum acl_access access, struct span topic)
{
    struct finding own = ask_section(own_section(acl, client), client, access, topic);
    if (own.denies || own.allows)
        return own;
    return ask_section(patterns_for(acl, client), client, access, topic);
}

bool acl_allows(const struct acl *acl, const struct acl_client *client, enum acl_access access,
                struct span topic)
{
    if (!acl)
        return true;
    struct finding finding = ask(acl, client, access, topic);
    return finding.allows && !finding.denies;
}

bool acl_allows_or_why(const struct acl *acl, const struct acl_client *client,
                       enum acl_access access, struct span topic, struct acl_refusal *ret_why)
{
    if (!acl)
        return true;
    struct finding finding = ask(acl, client, access, topic);
    if (finding.allows && !finding.denies)
        return true;
    *ret_why = (struct acl_refusal){ .name = acl->name };
    if (finding.denies) {
        ret_why->line = finding.denies->line;
        ret_why->filter = filter_of(finding.denies);
    }
    return false;
}

/* How the rules of a section stand to a filter. */
struct survey {
    bool denies_all, denies_any, allows_all, allows_any;
};

static void survey_rule(struct survey *survey, const struct acl_rule *rule,
                        const struct acl_client *client, struct span filter)
{
    struct cursor cursor = cursor_of(rule, client);
    if (!applies(rule, client) || !relates(cursor, filter, false))
        return;
    bool all = relates(cursor, filter, true);
    if (rule->access == ACL_DENY) {
        survey->denies_any = true;
        survey->denies_all |= all;
    } else {
        survey->allows_any = true;
        survey->allows_all |= all;
    }
}

static struct survey survey_section(const struct acl_section *section,
                                    const struct acl_client *client, enum acl_access access,
                                    struct span filter)
{
    struct survey survey = { 0 };
    for (uint32_t i = 0; section && i < section->count; i++) {
        const struct acl_rule *rule = &section->rules[i];
        if (rule->access == ACL_DENY || rule->access & access)
            survey_rule(&survey, rule, client, filter);
    }
    return survey;
}

enum acl_verdict acl_allows_filter(const struct acl *acl, const struct acl_client *client,
                                   enum acl_access access, struct span filter)
{
    if (!acl)
        return ACL_EVERYTHING;
    if (!mqtt_filter_has_wildcard(filter))
        return acl_allows(acl, client, access, filter) ? ACL_EVERYTHING : ACL_NOTHING;
    struct survey own = survey_section(own_section(acl, client), client, access, filter);
    if (own.denies_all)
        return ACL_NOTHING;
    if (own.allows_all && !own.denies_any)
        return ACL_EVERYTHING;
    struct survey rest = survey_section(patterns_for(acl, client), client, access, filter);
    if (!own.allows_any && (rest.denies_all || !rest.allows_any))
        return ACL_NOTHING;
    if (rest.allows_all && !own.denies_any && !rest.denies_any)
        return ACL_EVERYTHING;
    return ACL_SOME;
}
