/* SPDX-License-Identifier: MIT */
/*
 * host_gtk.c: a window of GTK 4 that downloads over a loop which GLib's main loop runs.
 *
 *     host_gtk                                the user types an address
 *     host_gtk --stay 127.0.0.1:8080/a.iso    it begins with this one
 *
 * All about the network is in download.c, all about the loop in portico_glib.c, which goes with
 * GTK 3 as well. What the user does comes by GTK's signals, what the network does by the listener's
 * callbacks, all of it on this one thread: so neither needs a lock, and each may call the other.
 */
#include "download.h"
#include "portico_glib.h"
#include "settings.h"

#include <gtk/gtk.h>
#include <stdlib.h>

static struct {
    settings settings;
    pco_loop *loop;
    download *download; /* NULL: none is under way */
    uint64_t received;
    GMainLoop *main_loop;
    GtkWindow *window;
    GtkEditable *address;
    GtkButton *button;
    GtkProgressBar *bar;
    GtkLabel *line;
    GtkTextBuffer *answer;
} program;

/* ---- The download ---- */

static void progressed(uint64_t received, int64_t length, void *context)
{
    char *text = g_format_size(received);

    (void)context;
    gtk_label_set_text(program.line, text);
    g_free(text);
    if (length > 0) {
        gtk_progress_bar_set_fraction(program.bar, (double)received / (double)length);
    } else {
        gtk_progress_bar_pulse(program.bar);
    }
    report_half(program.received, received, length);
    program.received = received;
}

static void ended(const download_end *end, void *context)
{
    char line[DOWNLOAD_LINE_SIZE];

    (void)context;
    program.download = NULL;
    download_describe(end, line);
    gtk_label_set_text(program.line, line);
    gtk_text_buffer_set_text(program.answer, end->start, -1);
    gtk_button_set_label(program.button, "Download");
    report_done(line, false);
    if (*program.settings.address != '\0' && !program.settings.stay) {
        g_main_loop_quit(program.main_loop);
    }
}

static void begin(void)
{
    static const download_listener listener = {.progressed = progressed, .ended = ended};
    const char *address = gtk_editable_get_text(program.address);
    pco_error error;

    program.received = 0;
    gtk_progress_bar_set_fraction(program.bar, 0);
    gtk_text_buffer_set_text(program.answer, "", -1);
    program.download = download_begin(program.loop, address, &listener, &error);
    if (program.download != NULL) {
        gtk_button_set_label(program.button, "Cancel");
        gtk_label_set_text(program.line, "asking");
    } else {
        gtk_label_set_text(program.line, error.message);
        report_done(error.message, false);
    }
}

/* ---- The window ---- */

static void begin_or_cancel(void)
{
    if (program.download == NULL) {
        begin();
    } else {
        download_cancel(program.download);
    }
}

static gboolean close_requested(void)
{
    g_main_loop_quit(program.main_loop);
    return TRUE; /* main will destroy it */
}

static void make_window(void)
{
    GtkWidget *window = gtk_window_new(), *address = gtk_entry_new();
    GtkWidget *button = gtk_button_new_with_label("Download"), *bar = gtk_progress_bar_new();
    GtkWidget *line = gtk_label_new("An address, such as localhost:8080/page");
    GtkWidget *answer = gtk_text_view_new(), *scrolled = gtk_scrolled_window_new();
    GtkWidget *top = gtk_box_new(GTK_ORIENTATION_HORIZONTAL, 6);
    GtkWidget *all = gtk_box_new(GTK_ORIENTATION_VERTICAL, 6);

    program.window = GTK_WINDOW(window);
    program.address = GTK_EDITABLE(address);
    program.button = GTK_BUTTON(button);
    program.bar = GTK_PROGRESS_BAR(bar);
    program.line = GTK_LABEL(line);
    program.answer = gtk_text_view_get_buffer(GTK_TEXT_VIEW(answer));

    gtk_editable_set_text(program.address, program.settings.address);
    gtk_label_set_xalign(program.line, 0);
    gtk_label_set_ellipsize(program.line, PANGO_ELLIPSIZE_END);
    gtk_text_view_set_editable(GTK_TEXT_VIEW(answer), FALSE);
    gtk_text_view_set_monospace(GTK_TEXT_VIEW(answer), TRUE);
    gtk_scrolled_window_set_child(GTK_SCROLLED_WINDOW(scrolled), answer);
    gtk_widget_set_margin_start(all, 8);
    gtk_widget_set_margin_end(all, 8);
    gtk_widget_set_margin_top(all, 8);
    gtk_widget_set_margin_bottom(all, 8);
    gtk_widget_set_hexpand(address, TRUE);
    gtk_widget_set_vexpand(scrolled, TRUE);
    gtk_box_append(GTK_BOX(top), address);
    gtk_box_append(GTK_BOX(top), button);
    gtk_box_append(GTK_BOX(all), top);
    gtk_box_append(GTK_BOX(all), bar);
    gtk_box_append(GTK_BOX(all), line);
    gtk_box_append(GTK_BOX(all), scrolled);
    gtk_window_set_child(program.window, all);
    gtk_window_set_title(program.window, "Portico in GTK");
    gtk_window_set_default_size(program.window, 480, 320);

    g_signal_connect(address, "activate", G_CALLBACK(begin_or_cancel), NULL);
    g_signal_connect(button, "clicked", G_CALLBACK(begin_or_cancel), NULL);
    g_signal_connect(window, "close-request", G_CALLBACK(close_requested), NULL);
    gtk_window_present(program.window);
}

/* ---- The program ---- */

static void run(void)
{
    GSource *source = portico_glib_source_new(program.loop);

    g_source_attach(source, NULL);
    program.main_loop = g_main_loop_new(NULL, FALSE);
    make_window();
    report("ready");
    if (*program.settings.address != '\0') {
        begin();
    }
    g_main_loop_run(program.main_loop);

    g_source_destroy(source);
    g_source_unref(source);
}

int main(int argc, char **argv)
{
    pco_error error;

    (void)argc;
    settings_read(&program.settings, argv);
    if (!gtk_init_check()) {
        fprintf(stderr, "host_gtk: there is no display\n");
        return EXIT_FAILURE;
    }
    if (pco_loop_new(NULL, &program.loop, &error) != 0) {
        fprintf(stderr, "host_gtk: %s\n", error.message);
        return EXIT_FAILURE;
    }
    run();
    pco_loop_free(program.loop); /* a download that is under way ends, and says so in the window */
    gtk_window_destroy(program.window);
    g_main_loop_unref(program.main_loop);
    return EXIT_SUCCESS;
}
