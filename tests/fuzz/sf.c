/*
 * Lists of structured fields, and how they are evaluated: a line with a Ratelimit field and a line with a
 * Ratelimit-Policy field; several fields of one name are already joined by commas.
 */

#include "fuzz.h"

#include "ais_budget.h"
#include "ais_limits.h"
#include "ais_sf.h"

#define NOW INT64_C(100000)
#define SECOND INT64_C(1000)
#define HOUR (3600 * SECOND)

/* The parsed members, serialized in the strictest form. Values that are not returned are replaced by examples. */
struct writer {
    char *text;
    size_t len;
    size_t size;
    size_t members;
    struct ais_str field;
};

static void put(struct writer *w, const char *s, size_t len)
{
    MUST(w->size - w->len > len);
    memcpy(w->text + w->len, s, len);
    w->len += len;
    w->text[w->len] = '\0';
}

static void put_text(struct writer *w, const char *s)
{
    put(w, s, strlen(s));
}

static void put_number(struct writer *w, int64_t number)
{
    char digits[32];

    MUST(number > -INT64_C(1000000000000000) && number < INT64_C(1000000000000000));
    put(w, digits, (size_t) snprintf(digits, sizeof(digits), "%lld", (long long) number));
}

static void put_inside(struct writer *w, struct ais_str s)
{
    MUST(s.data >= w->field.data && s.data + s.len <= w->field.data + w->field.len);
    put(w, s.data, s.len);
}

static void put_item(struct writer *w, const struct ais_sf_item *item)
{
    switch (item->type) {
    case AIS_SF_DATE:
        put_text(w, "@");
        put_number(w, item->integer);
        break;
    case AIS_SF_INTEGER:
        put_number(w, item->integer);
        break;
    case AIS_SF_BOOLEAN:
        MUST(item->integer == 0 || item->integer == 1);
        put_text(w, item->integer == 1 ? "?1" : "?0");
        break;
    case AIS_SF_STRING:
        put_text(w, "\"");
        put_inside(w, item->text);
        put_text(w, "\"");
        break;
    case AIS_SF_TOKEN:
        MUST(item->text.len > 0);
        put_inside(w, item->text);
        break;
    case AIS_SF_DECIMAL:
        put_text(w, "1.5");
        break;
    case AIS_SF_BYTES:
        put_text(w, ":YQ==:");
        break;
    case AIS_SF_DISPLAY_STRING:
        put_text(w, "%\"%c3%bc\"");
        break;
    case AIS_SF_INNER_LIST:
        put_text(w, "(a)");
        break;
    default:
        MUST(false);
    }
    if (item->type != AIS_SF_STRING && item->type != AIS_SF_TOKEN)
        MUST(item->text.len == 0);
}

static void on_member(void *data, const struct ais_sf_item *item)
{
    struct writer *w = data;

    if (w->members++ > 0)
        put_text(w, ", ");
    put_item(w, item);
}

static void on_parameter(void *data, struct ais_str key, const struct ais_sf_item *value)
{
    struct writer *w = data;

    MUST(w->members > 0 && key.len > 0 && value->type != AIS_SF_INNER_LIST);
    put_text(w, ";");
    put_inside(w, key);
    put_text(w, "=");
    put_item(w, value);
}

/* The largest number of bytes written for each byte read. */
static bool read_list(struct writer *w, struct ais_str field)
{
    struct ais_sf_visitor visitor = {.data = w, .member = on_member, .parameter = on_parameter};
    struct ais_str copy = exact_copy(field);
    bool ok;

    *w = (struct writer){.size = 16 * (field.len + 1), .field = copy};
    w->text = calloc(1, w->size);
    MUST(w->text != NULL);
    ok = ais_sf_list(copy, &visitor);
    exact_free(copy);
    return ok;
}

/* An accepted field has the same meaning when it is serialized strictly. */
static void check_written(const struct writer *first)
{
    struct writer again;

    MUST(read_list(&again, (struct ais_str){first->text, first->len}));
    MUST(again.members == first->members && strcmp(again.text, first->text) == 0);
    free(again.text);
}

static bool is_accepted(const char *before, struct ais_str field, const char *behind, size_t *members)
{
    size_t len = strlen(before) + field.len + strlen(behind);
    char *text = malloc(len + 1);
    struct writer w;
    bool ok;

    MUST(text != NULL);
    snprintf(text, len + 1, "%s", before);
    if (field.len > 0)
        memcpy(text + strlen(before), field.data, field.len);
    strcpy(text + strlen(before) + field.len, behind);
    ok = read_list(&w, (struct ais_str){text, len});
    *members = w.members;
    free(w.text);
    free(text);
    return ok;
}

/* Spaces around it make no difference; an additional member adds one; a trailing comma makes it invalid. */
static void check_neighbours(struct ais_str field, bool ok, size_t members)
{
    bool empty = ok && members == 0;
    size_t n;

    MUST(is_accepted("  ", field, "", &n) == ok && (!ok || n == members));
    MUST(!ok || empty || (is_accepted("", field, " \t", &n) && n == members));
    MUST(!is_accepted("", field, ",", &n));
    MUST(!is_accepted(",", field, "", &n));
    MUST(is_accepted("", field, ", 1", &n) == (ok && !empty));
    MUST(!ok || empty || n == members + 1);
    if (ok)
        MUST(is_accepted("1, ", field, "", &n) == !empty && (empty || n == members + 1));
}

static bool read_field(struct ais_str field)
{
    struct writer w;
    bool ok = read_list(&w, field);

    if (ok)
        check_written(&w);
    if (field.len > 0)
        check_neighbours(field, ok, w.members);
    free(w.text);
    return ok;
}

/* The limits, and how a budget applies them. */

static void check_limit(const struct ais_limit *limit)
{
    MUST(memchr(limit->name, '\0', sizeof(limit->name)) != NULL);
    for (const char *p = limit->name; *p != '\0'; p++)
        MUST((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || strchr("_.:-", *p));

    MUST(limit->left >= -1 && limit->quota >= -1 && limit->window >= -1);
    MUST(limit->left >= 0 || limit->quota >= 0);
    MUST(limit->window == -1 || (limit->quota >= 0 && limit->window <= (INT64_C(1) << 31) * SECOND));
    if (limit->left >= 0)
        MUST(limit->reset_at >= NOW && limit->reset_at <= NOW + (INT64_C(1) << 31) * SECOND);
}

static bool has_limit(const struct ais_limits *limits, const struct ais_limit *wanted)
{
    for (size_t i = 0; i < limits->n; i++) {
        const struct ais_limit *limit = &limits->items[i];

        if (strcmp(limit->name, wanted->name) == 0 && limit->left == wanted->left && limit->quota == wanted->quota &&
            limit->window == wanted->window && (limit->left < 0 || limit->reset_at == wanted->reset_at))
            return true;
    }
    return false;
}

/* Serialized in the API's form, they are parsed as the same. */
static void check_again(const struct ais_limits *limits)
{
    char ratelimit[512] = "", policy[512] = "";
    struct ais_limits again;

    for (size_t i = 0; i < limits->n; i++) {
        const struct ais_limit *limit = &limits->items[i];

        if (limit->quota >= 0)
            sprintf(policy + strlen(policy), "%s\"%s\";q=%lld", policy[0] != '\0' ? ", " : "", limit->name,
                    (long long) limit->quota);
        if (limit->window >= 0)
            sprintf(policy + strlen(policy), ";w=%lld", (long long) (limit->window / SECOND));
        if (limit->left >= 0)
            sprintf(ratelimit + strlen(ratelimit), "%s\"%s\";r=%lld;t=%lld", ratelimit[0] != '\0' ? ", " : "",
                    limit->name, (long long) limit->left, (long long) ((limit->reset_at - NOW) / SECOND));
    }

    ais_limits_parse(&again, ais_str_of(ratelimit), ais_str_of(policy), NOW);
    MUST(again.n == limits->n);
    for (size_t i = 0; i < limits->n; i++)
        MUST(has_limit(&again, &limits->items[i]));
}

/* The tightest limit with a plausible reset applies. */
static void check_budget(const struct ais_limits *limits)
{
    static const struct ais_budget_limit much = {UINT32_MAX, SECOND};
    struct ais_budget b = {.now = 0};
    int64_t left = UINT32_MAX;
    int64_t wait = 0;

    for (size_t i = 0; i < limits->n; i++) {
        const struct ais_limit *limit = &limits->items[i];
        bool is_believed = limit->left >= 0 && limit->reset_at <= NOW + HOUR;

        if (is_believed && limit->left < left)
            left = limit->left;
        if (is_believed && limit->left == 0 && limit->reset_at + SECOND - NOW > wait)
            wait = limit->reset_at + SECOND - NOW;
    }

    ais_budget_configure(&b, &much, 1, SECOND, NOW);
    MUST(ais_limits_heed(&b, limits, 200, -1, NOW) == 0);
    MUST(ais_budget_left(&b, NOW) == left);
    MUST(ais_budget_wait(&b, NOW) == wait);
    MUST(ais_limits_heed(&b, limits, 429, 7 * SECOND, NOW) == 7 * SECOND);
    MUST(ais_budget_left(&b, NOW) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ais_str rest = whole_input(data, size);
    struct ais_str ratelimit = exact_copy(take_line(&rest));
    struct ais_str policy = exact_copy(take_line(&rest));
    bool is_list = read_field(ratelimit);
    bool is_policy = read_field(policy);
    struct ais_limits limits;

    ais_limits_parse(&limits, ratelimit, policy, NOW);
    MUST(limits.n <= AIS_LIMITS_MAX && limits.uncertain == 0);
    for (size_t i = 0; i < limits.n; i++) {
        check_limit(&limits.items[i]);
        MUST(is_list || limits.items[i].left < 0);
        MUST(is_policy || limits.items[i].quota < 0);
    }
    check_again(&limits);
    check_budget(&limits);

    exact_free(policy);
    exact_free(ratelimit);
    return 0;
}
