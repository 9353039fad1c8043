// What a tile has cost: cycles in which the array took operands or waited for them, and products, formed and spared.
`default_nettype none

module jb_sequencer_account (
  input  wire logic          clk_i,
  input  wire logic          rst_ni,
  // the tile
  input  wire logic          take_i,             // pulse: it is taken
  input  wire logic          start_i,            // pulse: tile_i is there
  input  wire logic [1023:0] tile_i,
  input  wire logic          forward_i,
  input  wire logic          weight_gradient_i,
  // steps
  input  wire logic          step_start_i,
  input  wire logic [1:0]    products_i,         // taps * fours of channels of the step that starts: 0..3
  input  wire logic [2:0]    quads_i,            // fours of output channels
  input  wire logic          active_i,           // a request leaves
  input  wire logic          x_last_row_i,
  input  wire logic          stalled_i,          // else there is work to be done
  // weight gradient: elements
  input  wire logic          passes_end_i,       // pulse: the next two are stable from the cycle after on
  input  wire logic [31:0]   decided_i,
  input  wire logic [31:0]   undecided_i,
  output      logic          products_ready_o,   // macs_o and gated_o are complete (forward, input gradient: always)
  // sums, since take_i
  output      logic [31:0]   compute_cycles_o,
  output      logic [31:0]   stall_cycles_o,
  output      logic [63:0]   macs_o,
  output      logic [63:0]   gated_o
);
  logic [15:0] images, g_rows, g_columns;

  assign images    = tile_i[jb_pkg::IMAGES_LSB+:16];
  assign g_rows    = tile_i[jb_pkg::G_ROWS_LSB+:16];
  assign g_columns = tile_i[jb_pkg::G_COLUMNS_LSB+:16];

  // A cycle's products: 16 for each four of output channels and each four that are summed over; twice where there are two rows.
  logic [1:0] products_q;
  logic [3:0] product_quads;
  logic [8:0] macs_add_q;
  logic [63:0] macs_q;

  always_comb begin
    unique case (products_q)
      2'd0: product_quads = '0;
      2'd1: product_quads = {1'b0, quads_i};
      2'd2: product_quads = {quads_i, 1'b0};
      default: product_quads = {1'b0, quads_i} + {quads_i, 1'b0};
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (step_start_i) products_q <= products_i;

    macs_add_q <= '0;
    if (active_i && !weight_gradient_i) begin
      macs_add_q <= forward_i && !(x_last_row_i && g_rows[0]) ? {product_quads, 5'd0} : {1'b0, product_quads, 4'd0};
    end

    if (take_i) begin
      compute_cycles_o <= '0;
      stall_cycles_o   <= '0;
      macs_q           <= '0;
    end else begin
      if (active_i) compute_cycles_o <= compute_cycles_o + 32'd1;
      else if (stalled_i) stall_cycles_o <= stall_cycles_o + 32'd1;
      macs_q <= macs_q + {55'd0, macs_add_q};
    end
  end

  logic finish_q;
  logic [63:0] products;

  // All passes have been taken when the tail begins.
  always_ff @(posedge clk_i) finish_q <= passes_end_i;

  jb_sequencer_products u_products (
    .clk_i,
    .rst_ni,
    .start_i    (start_i && weight_gradient_i),
    .images_i   (images),
    .rows_i     (g_rows),
    .columns_i  (g_columns),
    .finish_i   (finish_q),
    .decided_i,
    .undecided_i,
    .ready_o    (products_ready_o),
    .macs_o     (products),
    .gated_o
  );

  assign macs_o = weight_gradient_i ? products : macs_q;

  logic unused;
  assign unused = ^tile_i;
endmodule

`default_nettype wire
