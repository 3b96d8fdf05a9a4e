/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_NEAR_H
#define AIS_NEAR_H

#include "ais_str.h"

#pragma GCC visibility push(hidden)

/*
 * Finds the name that was probably meant by a misspelled word, such as "token_file" by "token", "tokenFile" or
 * "tokn_file". Case, "_" and "-" are ignored. Set word and leave the rest zero, call ais_near_look() for each name, and
 * then read best or call ais_near_hint(). Pure.
 */
struct ais_near {
    struct ais_str word;
    struct ais_str best; /* the most similar name so far; empty: none is similar */
    int score;
    char hint[640]; /* all names so far */
};

void ais_near_look(struct ais_near *near, struct ais_str name);

/* Returns the end of a sentence: a question whether best was meant, or else a list of all names. It belongs to near. */
const char *ais_near_hint(struct ais_near *near);

#pragma GCC visibility pop

#endif
