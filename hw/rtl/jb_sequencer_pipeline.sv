// What follows a step's requests through the pipeline: addresses of the sums, where weights are exchanged, passes copied, sums added and
// read out. A step that starts in cycle s makes its first request in s + 1, whose data reach the array in s + 7 (its cycle 0).
`default_nettype none

module jb_sequencer_pipeline #(
  parameter int PsumBits = 10
) (
  input  wire logic                clk_i,
  input  wire logic                rst_ni,
  // the tile
  input  wire logic [1023:0]       tile_i,
  input  wire logic                forward_i,
  input  wire logic                weight_gradient_i,
  input  wire logic                phases_i,
  input  wire logic [PsumBits-1:0] psum_image_i,       // words of an image
  input  wire logic                half_i,             // of the partial sums
  // a step starts
  input  wire logic                start_i,            // pulse
  input  wire logic [PsumBits-1:0] address_i,          // of its first sum
  input  wire logic                odd_i,
  input  wire logic                first_i,
  input  wire logic                weights_i,
  input  wire logic                weights_end_i,
  input  wire logic                block_end_i,
  input  wire logic                tile_end_i,
  // its requests
  input  wire logic                active_i,
  input  wire logic                row_end_i,
  input  wire logic                image_end_i,
  input  wire logic                last_i,
  // weights
  output      logic                swap_o,             // with the first pixel's data in cycle 0 of the array
  output      logic                weights_taken_o,
  output      logic                weights_last_o,
  output      logic                weights_over_o,
  output      logic                weights_finished_o,
  // passes of the weight gradient
  output      logic                pass_load_o,        // the pass is copied with this pulse
  output      logic                capture_o,          // cycle 4 of the array with a pass' last pixel
  // array, in its cycle 0
  output      logic                odd_o,
  output      logic                pixel_o,
  output      logic                pixel_first_o,
  // partial sums
  output      logic                add_o,              // cycle 8 of the array
  output      logic [PsumBits-1:0] add_address_o,
  output      logic                fresh_o,
  output      logic                initial_load_o,     // cycle 10 of the array
  output      logic                initial_use_o
);
  logic [PsumBits-1:0] x_columns, g_columns;
  logic first;

  assign x_columns = tile_i[jb_pkg::X_COLUMNS_LSB+:PsumBits];
  assign g_columns = tile_i[jb_pkg::G_COLUMNS_LSB+:PsumBits];
  assign first     = tile_i[jb_pkg::FLAGS_LSB+jb_pkg::FLAG_FIRST];

  // ---- with a request: its sum's address
  logic [PsumBits-1:0] address_q, address_row_q, address_image_q, row_address, image_address, row_step;
  logic [1:0] column_step;
  logic odd_q, first_q, now_first_q;  // first: the step's first request; now_first: the sums begin with this step

  assign column_step   = phases_i ? 2'd2 : 2'd1;
  assign row_step      = forward_i ? g_columns : phases_i ? {x_columns[PsumBits-2:0], 1'b0} : x_columns;
  assign row_address   = address_row_q + row_step;
  assign image_address = address_image_q + psum_image_i;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      address_q       <= address_i;
      address_row_q   <= address_i;
      address_image_q <= address_i;
      odd_q           <= odd_i;
      now_first_q     <= first_i && first;
      first_q         <= 1'b1;
    end else if (active_i) begin
      first_q <= 1'b0;
      if (image_end_i) begin
        address_q       <= image_address;
        address_row_q   <= image_address;
        address_image_q <= image_address;
      end else if (row_end_i) begin
        address_q     <= row_address;
        address_row_q <= row_address;
      end else begin
        address_q <= address_q + PsumBits'(column_step);
      end
    end
  end

  // ---- delays: of requests, and of the start
  localparam int Delay = 14;
  logic [Delay:1] valid_q, fresh_q;
  logic [10:1] last_request_q;
  logic [6:1] odd_delay_q, first_delay_q;
  logic [PsumBits-1:0] address_delay_q[Delay];
  logic [17:1] start_first_q;
  logic [19:1] start_q, start_weights_q, start_weights_end_q, start_block_end_q, start_tile_end_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q         <= '0;
      last_request_q  <= '0;
      start_q         <= '0;
      start_weights_q <= '0;
    end else begin
      valid_q         <= {valid_q[Delay-1:1], active_i};
      last_request_q  <= {last_request_q[9:1], active_i && last_i};
      start_q         <= {start_q[18:1], start_i};
      start_weights_q <= {start_weights_q[18:1], start_i && weights_i};
    end
  end

  always_ff @(posedge clk_i) begin
    fresh_q             <= {fresh_q[Delay-1:1], now_first_q};
    odd_delay_q         <= {odd_delay_q[5:1], odd_q};
    first_delay_q       <= {first_delay_q[5:1], first_q};
    start_first_q       <= {start_first_q[16:1], first_i && first};
    start_weights_end_q <= {start_weights_end_q[18:1], weights_end_i};
    start_block_end_q   <= {start_block_end_q[18:1], block_end_i};
    start_tile_end_q    <= {start_tile_end_q[18:1], tile_end_i};
    address_delay_q[0]  <= {half_i, address_q[PsumBits-2:0]};
    for (int n = 1; n < Delay; n++) address_delay_q[n] <= address_delay_q[n-1];
  end

  assign odd_o              = odd_delay_q[6];
  assign pixel_o            = valid_q[6] && weight_gradient_i;
  assign pixel_first_o      = first_delay_q[6];
  assign swap_o             = start_weights_q[7];
  assign add_o              = valid_q[Delay] && !weight_gradient_i;
  assign add_address_o      = address_delay_q[Delay-1];
  assign fresh_o            = weight_gradient_i ? first : fresh_q[Delay];
  assign capture_o          = last_request_q[10] && weight_gradient_i;
  assign initial_load_o     = start_q[17];
  assign initial_use_o      = start_first_q[17] && !weight_gradient_i;
  // The initial sums must stay until they have been copied.
  assign weights_last_o     = start_weights_q[19] && start_weights_end_q[19];
  assign weights_taken_o    = weights_last_o || (start_weights_q[12] && !start_weights_end_q[12]);
  assign weights_over_o     = start_q[19] && start_block_end_q[19] && !weight_gradient_i;
  assign weights_finished_o = start_tile_end_q[19];
  assign pass_load_o        = start_q[6] && weight_gradient_i;

  logic unused;
  assign unused = ^tile_i;
endmodule

`default_nettype wire
