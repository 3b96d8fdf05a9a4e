/* SPDX-License-Identifier: BSD-2-Clause */

#ifndef AIS_VERSION_H
#define AIS_VERSION_H

/* The version of the project, which is also in the User-Agent of every upstream request. */
#define AIS_VERSION "0.2.0"

#endif
