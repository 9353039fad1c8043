// The feature buffer of x: 4 x 4 banks, so that a window of 3 rows x 3 columns of one word, or 3 words of each of 3 pixels of a
// column, can be read in a cycle. Pixel (image, row, column), word w of a tile with R x C pixels of W words lies in bank
// (row mod 4, (column + w) mod 4) at ((image * ceil(R / 4) + row / 4) * W + w) * ceil(C / 4) + column / 4, below Depth / 2.
// A request is accepted in every cycle; its data is there six cycles later. What lies outside the tile reads as zero.
`default_nettype none

module jb_feature_buffer #(
  parameter int Depth = 512  // words of a bank, both halves; a power of two, at least 4
) (
  input  wire logic         clk_i,
  // loading: a beat per cycle, in the order image, row, column, word
  input  wire logic         load_valid_i,
  input  wire logic         load_half_i,
  input  wire logic [15:0]  load_image_i,
  input  wire logic [15:0]  load_row_i,
  input  wire logic [15:0]  load_column_i,
  input  wire logic [15:0]  load_word_i,
  input  wire logic [63:0]  load_data_i,
  input  wire logic [15:0]  load_rows_i,      // of the tile that is loaded
  input  wire logic [15:0]  load_columns_i,
  input  wire logic [15:0]  load_words_i,
  // reading
  input  wire logic         read_half_i,      // these six are stable during a tile
  input  wire logic [15:0]  rows_i,
  input  wire logic [15:0]  columns_i,
  input  wire logic [15:0]  words_i,
  input  wire logic [15:0]  row_step_i,       // words_i * ceil(columns_i / 4)
  input  wire logic         skip_i,           // the second row is two rows below the first
  input  wire logic         valid_i,
  input  wire logic         many_words_i,     // j counts words of a pixel, not columns
  input  wire logic [15:0]  base_i,           // address of (image, 4 * floor(row / 4), column 0, word); signed
  input  wire logic [17:0]  row_i,            // signed
  input  wire logic [17:0]  column_i,         // signed
  input  wire logic [15:0]  word_i,
  output      logic [575:0] data_o            // [64*(3*i+j)+:64]: row + i (but skip_i), column + j or word + j
);
  localparam int AddressBits = $clog2(Depth) - 1;  // of a half

  // ---- loading
  logic [AddressBits-1:0] load_address;
  logic write_q;
  logic [3:0] write_bank_q;
  logic [AddressBits:0] write_address_q;
  logic [63:0] write_data_q;

  jb_feature_load #(
    .AddressBits(AddressBits)
  ) u_load (
    .clk_i,
    .valid_i  (load_valid_i),
    .image_i  (load_image_i),
    .row_i    (load_row_i),
    .column_i (load_column_i),
    .word_i   (load_word_i),
    .rows_i   (load_rows_i),
    .columns_i(load_columns_i),
    .words_i  (load_words_i),
    .address_o(load_address)
  );

  always_ff @(posedge clk_i) begin
    write_q         <= load_valid_i;
    write_bank_q    <= {load_row_i[1:0], load_column_i[1:0] + load_word_i[1:0]};
    write_address_q <= {load_half_i, load_address};
    write_data_q    <= load_data_i;
  end

  // ---- reading, cycle 1: address of each bank in two parts
  logic [AddressBits-1:0] quarter, step2, lower_q, upper_q;
  logic [AddressBits-1:0] term_d[4], term_q[4];
  logic [2:0] row_good, column_good, word_good, row_good_q, column_good_q;
  logic [1:0] row_q, rotate_q;
  logic [1:0] place[4];
  logic [2:0] carry[4];
  logic half_q;

  assign quarter = AddressBits'((17'(columns_i) + 17'd3) >> 2);
  assign step2   = base_i[AddressBits-1:0] + AddressBits'($signed(column_i[17:2]));

  always_comb begin
    for (int bank = 0; bank < 4; bank++) begin
      place[bank] = 2'(bank) - column_i[1:0] - word_i[1:0];
      carry[bank] = {1'b0, column_i[1:0]} + {1'b0, place[bank]};
      unique case (place[bank])
        2'd0: term_d[bank] = '0;
        2'd1: term_d[bank] = quarter;
        default: term_d[bank] = quarter << 1;  // a fourth word is not asked for
      endcase
      if (!many_words_i) term_d[bank] = {{(AddressBits - 1) {1'b0}}, carry[bank][2]};
    end
  end

  jb_feature_inside #(.Count(3)) u_rows (.first_i(row_i), .limit_i(rows_i), .inside_o(row_good));
  jb_feature_inside #(.Count(3)) u_columns (.first_i(column_i), .limit_i(columns_i), .inside_o(column_good));
  jb_feature_inside #(.Count(3)) u_words (.first_i({2'b00, word_i}), .limit_i(words_i), .inside_o(word_good));

  always_ff @(posedge clk_i) begin
    lower_q       <= step2;
    upper_q       <= step2 + row_step_i[AddressBits-1:0];
    half_q        <= read_half_i;
    row_q         <= row_i[1:0];
    rotate_q      <= column_i[1:0] + word_i[1:0];
    row_good_q    <= !valid_i ? '0 : skip_i ? {row_good[2], row_good[2], row_good[0]} : row_good;
    column_good_q <= many_words_i ? word_good & {3{column_good[0]}} : column_good;
    for (int i = 0; i < 4; i++) term_q[i] <= term_d[i];
  end

  // ---- cycle 2: address registers; 3 and 4: memory and its register
  logic [AddressBits:0] read_address_q[16];
  logic [63:0] bank_data[16];
  logic [3:0] later;  // banks of rows that belong to the next group of four

  assign later = {1'b0, row_q == 2'd3, row_q[1], row_q != 2'd0};

  for (genvar br = 0; br < 4; br++) begin : g_row
    for (genvar bc = 0; bc < 4; bc++) begin : g_column
      always_ff @(posedge clk_i) begin
        read_address_q[4*br+bc] <= {half_q, (later[br] ? upper_q : lower_q) + term_q[bc]};
      end

      jb_feature_bank #(
        .Depth(Depth)
      ) u_bank (
        .clk_i,
        .write_i        (write_q && write_bank_q == 4'(4 * br + bc)),
        .write_address_i(write_address_q),
        .write_data_i   (write_data_q),
        .read_address_i (read_address_q[4*br+bc]),
        .read_data_o    (bank_data[4*br+bc])
      );
    end
  end

  logic [1:0] row2_q, row3_q, rotate2_q, rotate3_q, rotate4_q;
  logic [2:0] row_good2_q, row_good3_q, row_good4_q;
  logic [2:0] column_good2_q, column_good3_q, column_good4_q;

  always_ff @(posedge clk_i) begin
    row2_q         <= row_q;
    row3_q         <= row2_q;
    rotate2_q      <= rotate_q;
    rotate3_q      <= rotate2_q;
    rotate4_q      <= rotate3_q;
    row_good2_q    <= row_good_q;
    row_good3_q    <= row_good2_q;
    row_good4_q    <= row_good3_q;
    column_good2_q <= column_good_q;
    column_good3_q <= column_good2_q;
    column_good4_q <= column_good3_q;
  end

  // ---- cycles 5 and 6: rows, then columns into place
  logic [63:0] turned_q[16];

  for (genvar i = 0; i < 3; i++) begin : g_turn
    logic [1:0] from_row_q;

    always_ff @(posedge clk_i) from_row_q <= row3_q + (i == 1 && skip_i ? 2'd2 : 2'(i));

    for (genvar j = 0; j < 4; j++) begin : g_bank
      always_ff @(posedge clk_i) turned_q[4*i+j] <= bank_data[{from_row_q, 2'(j)}];
    end

    for (genvar j = 0; j < 3; j++) begin : g_place
      logic [1:0] from_column_q;
      logic outside_q;

      always_ff @(posedge clk_i) begin
        from_column_q <= rotate4_q + 2'(j);
        outside_q     <= !(row_good4_q[i] && column_good4_q[j]);
        if (outside_q) data_o[64*(3*i+j)+:64] <= '0;
        else data_o[64*(3*i+j)+:64] <= turned_q[{2'(i), from_column_q}];
      end
    end
  end

  for (genvar j = 0; j < 4; j++) begin : g_unused
    always_comb turned_q[12+j] = '0;
  end

  logic unused;
  assign unused = ^{base_i, row_step_i, column_i[16]};
endmodule

`default_nettype wire
