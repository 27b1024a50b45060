/* SPDX-License-Identifier: MIT */
/*
 * See mail.h: the two growing arrays. They belong to whoever holds them, a worker or, under its
 * lock, a mailbox; no lock is taken here.
 */
#include "broker/mail.h"

#include <stdlib.h>

#include "broker/alloc.h"

enum { KEEP_ROOM = 4096 };

void mails_add(struct mails *mails, const struct mail *mail)
{
    mails->at = must_have(array_grow(mails->at, mails->count, &mails->room, sizeof *mail));
    mails->at[mails->count++] = *mail;
}

void mails_clear(struct mails *mails)
{
    mails->count = 0;
    if (mails->room <= KEEP_ROOM)
        return;
    free(mails->at);
    *mails = (struct mails){ 0 };
}

void deliveries_add(struct deliveries *deliveries, const struct delivery *delivery)
{
    deliveries->at = must_have(
        array_grow(deliveries->at, deliveries->count, &deliveries->room, sizeof *delivery));
    deliveries->at[deliveries->count++] = *delivery;
}
