/* SPDX-License-Identifier: BSD-2-Clause */

/* Decides in which form the plain resources of an account are requested. */

#include "ais_form.h"

bool ais_form_try(struct ais_form *form, int64_t now)
{
    if (form->namespaced)
        return true;

    if (form->tried && now - form->tried_at < AIS_FORM_PAUSE)
        return false;

    form->tried = true;
    form->tried_at = now;
    return true;
}

bool ais_form_settle(struct ais_form *form, const struct ais_verdict *verdict)
{
    bool has_route = !verdict->no_route && (verdict->fault == AIS_FAULT_NONE || verdict->fault == AIS_FAULT_REFUSED);

    if (form->namespaced || !has_route)
        return false;

    form->namespaced = true;
    return true;
}
