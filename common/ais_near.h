/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_NEAR_H
#define AIS_NEAR_H

#include "ais_str.h"

#pragma GCC visibility push(hidden)

/*
 * Finds which of several names was meant by a word that is none of them, such as "token_file" by "token", "tokenFile"
 * or "tokn_file". Neither case nor "_" and "-" count. Begin with the word alone, look at each name, and read best, or
 * the hint.
 */
struct ais_near {
    struct ais_str word;
    struct ais_str best; /* the nearest name so far; empty: none is near */
    int score;
    char hint[640]; /* all names so far */
};

void ais_near_look(struct ais_near *near, struct ais_str name);

/* Ends a sentence: did you mean the best, or else, use one of them. */
const char *ais_near_hint(struct ais_near *near);

#pragma GCC visibility pop

#endif
