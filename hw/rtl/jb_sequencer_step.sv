// Parameters of the next step: where its walks over the feature buffers begin and how far they go, where its sums lie, and what they
// count. All outputs are registers, taken in each cycle with prepare_i from the loops (forward, input gradient) or the window at
// hand (weight gradient), and stable from then on.
`default_nettype none

module jb_sequencer_step #(
  parameter int BankBits = 8,  // of an address in a half of a bank
  parameter int PsumBits = 10
) (
  input  wire logic                clk_i,
  input  wire logic                prepare_i,
  // the tile
  input  wire logic [1023:0]       tile_i,
  input  wire logic                forward_i,
  input  wire logic                input_gradient_i,
  input  wire logic                weight_gradient_i,
  input  wire logic                phases_i,
  // the loops' next step
  input  wire logic [1:0]          phase_i,
  input  wire logic [15:0]         group_i,
  input  wire logic [15:0]         left_i,
  input  wire logic [7:0]          row_i,
  input  wire logic [7:0]          column_i,
  input  wire logic [BankBits-1:0] word_base_i,
  input  wire logic                empty_phase_i,
  input  wire logic                first_i,
  // the window at hand
  input  wire logic [15:0]         window_word_i,
  input  wire logic [15:0]         window_g_word_i,
  input  wire logic [2:0]          window_row_i,
  input  wire logic [2:0]          window_column_i,
  input  wire logic [BankBits-1:0] window_x_base_i,
  input  wire logic [BankBits-1:0] window_g_base_i,
  // its walks: less one
  output      logic [15:0]         images_o,
  output      logic [15:0]         rows_o,
  output      logic [15:0]         columns_o,
  output      logic                empty_o,        // there is nothing to walk over
  // where they begin
  output      logic [17:0]         x_row_o,
  output      logic [17:0]         x_column_o,
  output      logic [BankBits-1:0] x_base_o,
  output      logic [15:0]         x_word_o,
  output      logic [17:0]         g_row_o,
  output      logic [17:0]         g_column_o,
  output      logic [BankBits-1:0] g_base_o,
  output      logic [15:0]         g_word_o,
  // its sums
  output      logic [PsumBits-1:0] address_o,      // of the first, in its half of the partial sums
  output      logic                first_o,        // of its block or phase
  output      logic                odd_o,          // the upper four channels of a word of x
  output      logic                weights_o,      // it takes a group of weights
  output      logic [1:0]          products_o      // per pixel and output channel, taps * fours of channels: 0..3
);
  logic [7:0] kernel_w, pad_top, pad_left;
  logic [15:0] images, x_rows, x_columns, g_rows, g_columns;
  logic channels;

  assign images    = tile_i[jb_pkg::IMAGES_LSB+:16];
  assign x_rows    = tile_i[jb_pkg::X_ROWS_LSB+:16];
  assign x_columns = tile_i[jb_pkg::X_COLUMNS_LSB+:16];
  assign g_rows    = tile_i[jb_pkg::G_ROWS_LSB+:16];
  assign g_columns = tile_i[jb_pkg::G_COLUMNS_LSB+:16];
  assign kernel_w  = tile_i[jb_pkg::KERNEL_W_LSB+:8];
  assign pad_top   = tile_i[jb_pkg::PAD_TOP_LSB+:8];
  assign pad_left  = tile_i[jb_pkg::PAD_LEFT_LSB+:8];
  assign channels  = tile_i[jb_pkg::LANE_MODE_LSB];

  logic [17:0] x_row, x_column, g_row, g_column;
  logic [17:0] kernel_row, kernel_column, top, left;
  logic [15:0] rows, columns;
  logic row_start, column_start;  // input gradient, stride 2: first row and column of x in the phase

  assign row_start     = phases_i && (phase_i[1] ^ pad_top[0]);
  assign column_start  = phases_i && (phase_i[0] ^ pad_left[0]);
  assign kernel_row    = weight_gradient_i ? {15'd0, window_row_i} : {10'd0, row_i};
  assign kernel_column = weight_gradient_i ? {15'd0, window_column_i} : {10'd0, column_i};
  assign top           = {10'd0, pad_top};
  assign left          = {10'd0, pad_left};

  always_comb begin
    x_row    = kernel_row - top;
    x_column = kernel_column - left;
    if (weight_gradient_i) begin
      g_row    = '0;
      g_column = '0;
    end else if (phases_i) begin
      g_row    = 18'($signed({17'd0, row_start} + top - kernel_row) >>> 1);
      g_column = 18'($signed({17'd0, column_start} + left - kernel_column) >>> 1);
    end else begin
      g_row    = top - kernel_row;
      g_column = left - kernel_column - (channels ? 18'd0 : 18'd2);
    end
    if (empty_phase_i && !weight_gradient_i) g_row = 18'h20000;  // nothing but zeros is there
    rows    = g_rows;
    columns = g_columns;
    if (forward_i) begin
      rows = 16'((17'(g_rows) + 17'd1) >> 1);
    end else if (input_gradient_i) begin
      rows    = phases_i ? 16'((17'(x_rows) + 17'(!row_start)) >> 1) : x_rows;
      columns = phases_i ? 16'((17'(x_columns) + 17'(!column_start)) >> 1) : x_columns;
    end
  end

  always_ff @(posedge clk_i) begin
    if (prepare_i) begin
      images_o   <= images - 16'd1;
      rows_o     <= rows - 16'd1;
      columns_o  <= columns - 16'd1;
      empty_o    <= rows == '0 || columns == '0;
      x_row_o    <= x_row;
      x_column_o <= x_column;
      x_base_o   <= weight_gradient_i ? window_x_base_i : word_base_i;
      x_word_o   <= weight_gradient_i ? window_word_i : {1'b0, group_i[15:1]};
      g_row_o    <= g_row;
      g_column_o <= g_column;
      g_base_o   <= weight_gradient_i ? window_g_base_i : word_base_i;
      g_word_o   <= weight_gradient_i ? window_g_word_i : group_i;
      address_o  <= (row_start ? x_columns[PsumBits-1:0] : '0) + PsumBits'(column_start);
      first_o    <= first_i;
      odd_o      <= group_i[0];
      weights_o  <= !weight_gradient_i && !empty_phase_i;
      if (empty_phase_i) products_o <= 2'd0;
      else if (channels) products_o <= left_i < 16'd3 ? left_i[1:0] : 2'd3;
      else products_o <= kernel_w - column_i < 8'd3 ? 2'(kernel_w - column_i) : 2'd3;
    end
  end

  logic unused;
  assign unused = ^tile_i;
endmodule

`default_nettype wire
