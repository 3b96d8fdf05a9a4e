#include "collectd_stub.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 8

/* Returns the child, which has only a key, or NULL if out of memory. */
static oconfig_item_t *add_child(oconfig_item_t *parent, char *key)
{
    oconfig_item_t *children = realloc(parent->children, sizeof(*children) * (size_t) (parent->children_num + 1));

    if (children == NULL) {
        free(key);
        return NULL;
    }
    parent->children = children;
    children[parent->children_num] = (oconfig_item_t){.key = key};
    return &children[parent->children_num++];
}

static bool add_value(oconfig_item_t *item, oconfig_value_t value)
{
    oconfig_value_t *values = realloc(item->values, sizeof(*values) * (size_t) (item->values_num + 1));

    if (values == NULL) {
        if (value.type == OCONFIG_TYPE_STRING) {
            free(value.value.string);
        }
        return false;
    }
    item->values = values;
    values[item->values_num++] = value;
    return true;
}

static const char *skip_blanks(const char *p)
{
    return p + strspn(p, " \t\r");
}

/* Whether the line ends here; a comment also ends it. */
static bool at_end(const char *p)
{
    return *p == '\0' || *p == '\n' || *p == '#';
}

static bool is_word(char c)
{
    return c != '\0' && strchr(" \t\r\n\"<>#", c) == NULL;
}

static const char *skip_line(const char *p)
{
    p += strcspn(p, "\n");
    return *p == '\n' ? p + 1 : p;
}

/* Returns a word as a new string, or NULL if there is none. */
static char *take_word(const char **p)
{
    const char *begin = *p;

    while (is_word(**p)) {
        (*p)++;
    }
    return *p > begin ? strndup(begin, (size_t) (*p - begin)) : NULL;
}

/* Text between quotes; a backslash escapes the next character. */
static char *take_quoted(const char **p)
{
    char *text = malloc(strlen(*p) + 1);
    size_t len = 0;

    if (text == NULL) {
        return NULL;
    }
    for ((*p)++; **p != '"'; (*p)++) {
        if (**p == '\\') {
            (*p)++;
        }
        if (**p == '\0' || **p == '\n') {
            free(text);
            return NULL;
        }
        text[len++] = **p;
    }
    (*p)++;
    text[len] = '\0';
    return text;
}

static bool is_one_of(const char *word, const char *a, const char *b, const char *c)
{
    return strcasecmp(word, a) == 0 || strcasecmp(word, b) == 0 || strcasecmp(word, c) == 0;
}

static oconfig_value_t value_of(char *word)
{
    bool yes = is_one_of(word, "true", "yes", "on");
    oconfig_value_t value = {.type = OCONFIG_TYPE_STRING, .value.string = word};
    char *end;

    if (yes || is_one_of(word, "false", "no", "off")) {
        free(word);
        return (oconfig_value_t){.type = OCONFIG_TYPE_BOOLEAN, .value.boolean = yes};
    }
    if (isdigit((unsigned char) word[0]) || word[0] == '-') {
        double number = strtod(word, &end);

        if (*end == '\0' && isfinite(number)) {
            free(word);
            return (oconfig_value_t){.type = OCONFIG_TYPE_NUMBER, .value.number = number};
        }
    }
    return value;
}

/* Returns false if there is none. */
static bool take_value(const char **p, oconfig_value_t *value)
{
    char *text;

    if (**p == '"') {
        text = take_quoted(p);
        *value = (oconfig_value_t){.type = OCONFIG_TYPE_STRING, .value.string = text};
        return text != NULL;
    }
    text = take_word(p);
    if (text == NULL) {
        return false;
    }
    *value = value_of(text);
    return true;
}

static bool take_values(oconfig_item_t *item, const char **p)
{
    oconfig_value_t value;

    for (*p = skip_blanks(*p); !at_end(*p) && **p != '>'; *p = skip_blanks(*p)) {
        if (!take_value(p, &value) || !add_value(item, value)) {
            return false;
        }
    }
    return true;
}

static const char *parse_block(oconfig_item_t *item, const char *p, int depth);

/* Parses an option or an entire block. Returns a pointer to what follows, or NULL. */
static const char *parse_item(oconfig_item_t *parent, const char *p, int depth)
{
    bool block = *p == '<';
    oconfig_item_t *item;
    char *key;

    p += block;
    key = take_word(&p);
    item = key != NULL ? add_child(parent, key) : NULL;
    if (item == NULL || !take_values(item, &p)) {
        return NULL;
    }
    if (!block) {
        return *p == '>' ? NULL : skip_line(p);
    }
    if (*p != '>' || depth == DEPTH_MAX) {
        return NULL;
    }
    return parse_block(item, skip_line(p), depth + 1);
}

/* Parses the closing line of a block. Returns a pointer to what follows, or NULL if it closes another block. */
static const char *parse_close(const oconfig_item_t *item, const char *p)
{
    size_t len = strlen(item->key);

    p += 2;
    if (strncasecmp(p, item->key, len) != 0 || p[len] != '>') {
        return NULL;
    }
    return skip_line(p + len);
}

static const char *parse_block(oconfig_item_t *item, const char *p, int depth)
{
    while (p != NULL) {
        p = skip_blanks(p);
        if (*p == '\0') {
            return depth == 0 ? p : NULL;
        }
        if (at_end(p)) {
            p = skip_line(p);
        } else if (p[0] == '<' && p[1] == '/') {
            return depth > 0 ? parse_close(item, p) : NULL;
        } else {
            p = parse_item(item, p, depth);
        }
    }
    return NULL;
}

static void set_parents(oconfig_item_t *item)
{
    for (int i = 0; i < item->children_num; i++) {
        item->children[i].parent = item;
        set_parents(&item->children[i]);
    }
}

static void free_content(oconfig_item_t *item)
{
    for (int i = 0; i < item->values_num; i++) {
        if (item->values[i].type == OCONFIG_TYPE_STRING) {
            free(item->values[i].value.string);
        }
    }
    for (int i = 0; i < item->children_num; i++) {
        free_content(&item->children[i]);
    }
    free(item->values);
    free(item->children);
    free(item->key);
}

void stub_parse_free(oconfig_item_t *root)
{
    if (root != NULL) {
        free_content(root);
        free(root);
    }
}

oconfig_item_t *stub_parse(const char *text)
{
    oconfig_item_t *root = calloc(1, sizeof(*root));

    if (root != NULL && parse_block(root, text, 0) == NULL) {
        stub_parse_free(root);
        return NULL;
    }
    if (root != NULL) {
        set_parents(root);
    }
    return root;
}
