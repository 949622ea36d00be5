#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/csv.h"
#include "tests/fuzz/fuzz.h"

/* Every cell as text and as a number, every column by its name. */
static size_t read_cells(const struct csv_table *table)
{
	size_t sum = 0;
	double number;
	for (int c = 0; c < table->n_columns; c++)
		if (csv_column(table, table->column[c]) > c)
			fuzz_fail("column %d is not the first of its name", c);
	for (int r = 0; r < table->n_rows; r++)
		for (int c = 0; c < table->n_columns; c++) {
			sum += strlen(csv_cell(table, r, c));
			sum += csv_number(table, r, c, &number) == STATUS_OK;
		}
	return sum;
}

int csv_fuzz(const uint8_t *data, size_t n)
{
	enum status (*const readers[])(const char *, struct csv_table *) = {csv_read, csv_read_log};
	char path[FUZZ_PATH];
	const int file = fuzz_file(data, n, path);
	for (int i = 0; i < 2; i++) {
		struct csv_table table;
		if (readers[i](path, &table) != STATUS_OK) {
			fuzz_message(path);
			continue;
		}
		fuzz_use(read_cells(&table));
		csv_close(&table);
	}
	close(file);
	return 0;
}
