/* SPDX-License-Identifier: MIT */
/*
 * error.c: the names and sentences of the error codes, and filling in a pco_error. A message that
 * does not fit is cut between two characters of UTF-8, never inside one. Sentences quote what
 * others have written, hosts and paths: no control character of it gets through, so that nobody
 * forges lines of a log.
 */
#include "support/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *pco_error_name(int code)
{
    switch (code) {
    case PCO_OK:
        return "PCO_OK";
#define NAME(name, number, sentence)                                                               \
    case number:                                                                                   \
        return "PCO_" #name;
        PCO_ERROR_MAP(NAME)
#undef NAME
    default:
        return "PCO_EUNKNOWN";
    }
}

const char *pco_strerror(int code)
{
    switch (code) {
    case PCO_OK:
        return "success";
#define SENTENCE(name, number, sentence)                                                           \
    case number:                                                                                   \
        return sentence;
        PCO_ERROR_MAP(SENTENCE)
#undef SENTENCE
    default:
        return pco_strerror(PCO_EUNKNOWN);
    }
}

int pco__error_known(int code)
{
    switch (code) {
    case PCO_OK:
#define KNOWN(name, number, sentence) case number:
        PCO_ERROR_MAP(KNOWN)
#undef KNOWN
        return code;
    default:
        return PCO_EUNKNOWN;
    }
}

bool pco_error_is_disconnect(int code)
{
    switch (code) {
    case PCO_ECONNRESET:
    case PCO_ECONNABORTED:
    case PCO_ETIMEDOUT:
    case PCO_ETRUNCATED:
    case PCO_EHOSTUNREACH:
    case PCO_ENETUNREACH:
        return true;
    default:
        return false;
    }
}

/* Where a text that was cut at `end` should end, so that no character of UTF-8 is broken. */
static size_t whole_characters(const char *text, size_t end)
{
    size_t start = end;
    unsigned char lead;
    size_t length;

    while (start > 0 && end - start < 3 && ((unsigned char)text[start - 1] & 0xC0) == 0x80) {
        start--;
    }
    if (start == 0) {
        return end;
    }
    lead = (unsigned char)text[start - 1];
    length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    return end - (start - 1) < length ? start - 1 : end;
}

/* Writes a byte, a control character as \x0A. Returns how much that is; 0: there is no room. */
static size_t write_visibly(char *text, size_t room, char byte)
{
    static const char digits[] = "0123456789ABCDEF";
    unsigned char value = (unsigned char)byte;
    bool is_control = value < ' ' || value == 0x7F;

    if (room < (is_control ? 4 : 1)) {
        return 0;
    }
    if (!is_control) {
        *text = byte;
        return 1;
    }
    text[0] = '\\';
    text[1] = 'x';
    text[2] = digits[value >> 4];
    text[3] = digits[value & 15];
    return 4;
}

/* Formats into text[0..size), no larger than a message, and returns the length. */
static size_t format_cut(char *text, size_t size, const char *format, va_list arguments)
{
    char raw[sizeof((pco_error *)NULL)->message];
    int formatted = vsnprintf(raw, sizeof raw, format, arguments);
    size_t length = 0;
    size_t written = 1;

    if (formatted < 0) {
        raw[0] = '\0'; /* an encoding error: the message is empty */
    }
    for (const char *from = raw; *from != '\0' && written != 0; from++) {
        written = write_visibly(text + length, size - 1 - length, *from);
        length += written;
    }
    if (written == 0 || formatted >= (int)sizeof raw) {
        length = whole_characters(text, length);
    }
    text[length] = '\0';
    return length;
}

int pco__error_set(pco_error *error, int code, int system_code, const char *format, ...)
{
    va_list arguments;

    if (error == NULL) {
        return code;
    }
    error->code = code;
    error->system_code = system_code;
    va_start(arguments, format);
    format_cut(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return code;
}

/* Where the whole is too long, the front is cut: why it failed matters more. */
int pco__error_describe(pco_error *error, int code, int system_code, const char *format, ...)
{
    const char *sentence = pco_strerror(code);
    size_t tail = strlen(sentence) + 2;
    size_t length;
    va_list arguments;

    if (error == NULL) {
        return code;
    }
    error->code = code;
    error->system_code = system_code;
    va_start(arguments, format);
    length = format_cut(error->message, sizeof error->message - tail, format, arguments);
    va_end(arguments);
    snprintf(error->message + length, tail + 1, ": %s", sentence);
    return code;
}
