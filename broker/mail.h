/* SPDX-License-Identifier: MIT */
/*
 * What workers tell each other. During a turn a worker collects mails per target worker (its
 * outboxes) and hands each batch over with one lock and at most one wake-up; a mail between two
 * workers never overtakes an earlier one of the same pair.
 */
#pragma once

#include "broker/delivery.h"
#include "broker/err.h"

#include <pthread.h>

struct principal;
struct worker;

/* What a mail is about; each kind is a row of the table in worker.c that names its handler.
 * `target` and the payload by kind: */
enum mail_kind {
    MAIL_DELIVERY, /* target: session; delivery given away */
    MAIL_GROUP_MESSAGE, /* target: group; delivery given away: a message that the group's filter matched */
    MAIL_GROUP_RETURN, /* target: membership; delivery given away: a member has left it unacknowledged */
    MAIL_GROUP_CREDIT, /* target: membership; number: how many places became free */
    MAIL_GROUP_MEMBER, /* target: membership; number: enum member_change; principal given away */
    MAIL_CLAIM,        /* target: claim; for the session's owner */
    MAIL_CLAIM_ANSWER, /* target: claim; for the claiming worker */
    MAIL_FENCE,        /* target: fence; answer when all that was collected has been posted */
    MAIL_FENCE_ANSWER, /* target: fence; for the worker that put it up */
    MAIL_CONFIG,       /* target: config, one reference given away; number: of its rules */
    MAIL_STOP,         /* the broker stops: send the wills */
    MAIL_CLOSE,        /* all wills are sent: close all connections */
    MAIL_DUMP,         /* log what there is */
    MAIL_LOGIN,        /* target: login; for the worker that has submitted it */
    MAIL_DONE,         /* handled before its turn */
    MAIL_KINDS,
};

struct mail {
    enum mail_kind kind;
    uint32_t number;
    void *target;
    union {
        struct delivery delivery;
        struct principal *principal; /* MAIL_GROUP_MEMBER with MEMBER_WHO */
    };
};

struct mails { /* a growing array, owner-only */
    struct mail *at;
    size_t count, room;
};

struct deliveries { /* the same of deliveries */
    struct delivery *at;
    size_t count, room;
};

/* Whether both bring the same message, so that no session gets more from the two than from one. */
static inline bool mail_goes_with(const struct mail *mail, const struct mail *before)
{
    return mail->kind == MAIL_DELIVERY && before->kind == MAIL_DELIVERY &&
           mail->delivery.message == before->delivery.message;
}

/* Both abort without memory: the sizes are bounded by what one turn can take in. */
void mails_add(struct mails *mails, const struct mail *mail);
/* Empties the array; what a burst has made large is given back. */
void mails_clear(struct mails *mails);
void deliveries_add(struct deliveries *deliveries, const struct delivery *delivery);

struct mailbox {
    pthread_mutex_t lock;   /* rank 4: mailbox */
    struct mails mails;     /* (L) */
    atomic_size_t count;    /* (a) mails in it, as of the last change */
    atomic_size_t messages; /* (a) the same of messages: one to many sessions counts once */
    atomic_bool awaited;    /* (a) other workers wait for it to become emptier */
    atomic_bool armed;      /* (a) the owner has been woken up and has not come yet */
};
