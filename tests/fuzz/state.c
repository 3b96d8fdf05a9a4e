/* The lines of the collectd plugin's state file: the input consists of independent lines "KIND TEXT". A line that is
 * parsed can be written and parsed again with the same result. */

#include "fuzz.h"

#include "../../collectd-plugin/state_text.h"

#define NOW INT64_C(1795435200000) /* 2026-11-23T12:00:00Z */
#define CLOCK INT64_C(1000000)

struct things {
    struct ais_budget spent;
    state_budget_t budget;
    instance_t instance;
    notice_t notice;
    reported_t reported;
};

static void *begin(struct things *t, state_kind_t kind)
{
    static const struct ais_budget_limit limits[] = {{300, 300000}, {100, 1000}};

    memset(t, 0, sizeof(*t));
    ais_budget_configure(&t->spent, limits, 2, 5000, CLOCK);
    t->budget = (state_budget_t){&t->spent, CLOCK, NOW};
    instance_init(&t->instance, NOW);
    t->notice.duration = -1;

    switch (kind) {
    case STATE_BUDGET:
        return &t->budget;
    case STATE_NOTICE:
        return &t->notice;
    case STATE_REPORTED:
        return &t->reported;
    default:
        return &t->instance;
    }
}

static char *print(state_kind_t kind, void *of)
{
    char *text;
    size_t len;
    FILE *file = open_memstream(&text, &len);

    MUST(file != NULL);
    state_print(file, kind, of);
    MUST(fclose(file) == 0);
    MUST(strpbrk(text, "\n") == NULL);
    return text;
}

/* Returns the line as it is printed, or NULL if it is invalid. */
static char *reprint(struct things *t, state_kind_t kind, const char *text)
{
    void *of = begin(t, kind);
    char *printed = NULL;

    if (state_parse(kind, of, text, NOW)) {
        MUST(t->instance.history.njobs <= HISTORY_JOBS);
        MUST(t->instance.history.seen_at <= NOW && t->instance.read_at <= NOW);
        printed = print(kind, of);
    }
    history_free(&t->instance.history);
    return printed;
}

/* Calls are written in the order in which they ended. In another order, the calls of a group may be considered
 * older. */
static bool is_in_order(const char *text)
{
    double last = 0.0;

    for (const char *p = text; (p = strchr(p, '@')) != NULL;) {
        double at = strtod(++p, NULL);

        if (at < last)
            return false;
        last = at;
    }
    return true;
}

/* A floor that occurs twice in the input occurs once in the output. */
static void check(state_kind_t kind, const char *text)
{
    struct things first, second, third;
    char *once = reprint(&first, kind, text), *twice, *again;

    if (once == NULL)
        return;
    twice = reprint(&second, kind, once);
    MUST(twice != NULL);
    again = reprint(&third, kind, twice);
    MUST(again != NULL);
    if (kind == STATE_BUDGET && is_in_order(text))
        MUST(ais_budget_left(&second.spent, CLOCK) <= ais_budget_left(&first.spent, CLOCK));
    MUST(kind == STATE_BUDGET || strcmp(twice, again) == 0);
    if (kind != STATE_BUDGET && kind != STATE_INSTANCE)
        MUST(strcmp(once, twice) == 0);
    free(once);
    free(twice);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ais_str rest = whole_input(data, size);

    while (rest.len > 0) {
        char *line = text_dup(take_line(&rest)), *text = line;
        const char *name = strsep(&text, " ");

        for (int kind = 0; text != NULL && kind < STATE_KINDS; kind++)
            if (strcmp(name, state_kind_name(kind)) == 0)
                check(kind, text);
        free(line);
    }
    return 0;
}
