// Stands in for the core in the tests of the shell: keeps what is loaded, sums the weights, and answers each tile with beats
// made from all of them and from the masks, so that a test can tell whether every word came to its place. Simulation only.
//
// Beat k of a tile is x[k mod nx] ^ dz[k mod nz] ^ mask ^ (sum of weights rotated) ^ k, with x and dz in the order image, row,
// column, word (0 where a tensor is not loaded).
`default_nettype none

module jb_core #(
  parameter int Config = 0
) (
  input  wire logic          clk_i,
  input  wire logic          rst_ni,
  input  wire logic          tile_valid_i,
  output      logic          tile_ready_o,
  input  wire logic [1023:0] tile_i,
  input  wire logic          tile_half_i,
  input  wire logic          load_x_valid_i,
  input  wire logic          load_x_half_i,
  input  wire logic [15:0]   load_x_image_i,
  input  wire logic [15:0]   load_x_row_i,
  input  wire logic [15:0]   load_x_column_i,
  input  wire logic [15:0]   load_x_word_i,
  input  wire logic [63:0]   load_x_data_i,
  input  wire logic [15:0]   load_x_rows_i,
  input  wire logic [15:0]   load_x_columns_i,
  input  wire logic [15:0]   load_x_words_i,
  input  wire logic          load_g_valid_i,
  input  wire logic          load_g_half_i,
  input  wire logic [15:0]   load_g_image_i,
  input  wire logic [15:0]   load_g_row_i,
  input  wire logic [15:0]   load_g_column_i,
  input  wire logic [15:0]   load_g_word_i,
  input  wire logic [63:0]   load_g_data_i,
  input  wire logic [15:0]   load_g_rows_i,
  input  wire logic [15:0]   load_g_columns_i,
  input  wire logic [15:0]   load_g_words_i,
  output      logic          release_valid_o,
  output      logic          release_half_o,
  input  wire logic          w_valid_i,
  output      logic          w_ready_o,
  input  wire logic [63:0]   w_data_i,
  input  wire logic          m_valid_i,
  output      logic          m_ready_o,
  input  wire logic [63:0]   m_data_i,
  output      logic          o_valid_o,
  input  wire logic          o_ready_i,
  output      logic [63:0]   o_data_o,
  output      logic          o_last_o,
  output      logic          done_valid_o,
  input  wire logic          done_ready_i,
  output      logic [63:0]   done_peak_o,
  output      logic [31:0]   done_saturated_o,
  output      logic [31:0]   done_decided_o,
  output      logic [31:0]   done_undecided_o,
  output      logic [31:0]   done_compute_cycles_o,
  output      logic [31:0]   done_stall_cycles_o,
  output      logic [63:0]   done_macs_o,
  output      logic [63:0]   done_macs_gated_o
);
  localparam int Words = 4096;
  localparam int OutLanes = jb_pkg::CONFIG_OUT_LANES[32*Config+:32];

  logic [63:0] x_memory[2*Words];
  logic [63:0] g_memory[2*Words];
  logic [31:0] load_x_index, load_g_index;

  assign load_x_index = ((32'(load_x_image_i) * 32'(load_x_rows_i) + 32'(load_x_row_i)) * 32'(load_x_columns_i)
                         + 32'(load_x_column_i)) * 32'(load_x_words_i) + 32'(load_x_word_i);
  assign load_g_index = ((32'(load_g_image_i) * 32'(load_g_rows_i) + 32'(load_g_row_i)) * 32'(load_g_columns_i)
                         + 32'(load_g_column_i)) * 32'(load_g_words_i) + 32'(load_g_word_i);

  always_ff @(posedge clk_i) begin
    if (load_x_valid_i) x_memory[13'(32'(load_x_half_i) * Words + load_x_index)] <= load_x_data_i;
    if (load_g_valid_i) g_memory[13'(32'(load_g_half_i) * Words + load_g_index)] <= load_g_data_i;
  end

  // ---- the tile
  typedef enum logic [2:0] {
    StIdle,
    StWeights,
    StMask,
    StBeat,
    StDone
  } state_e;

  state_e state_q;
  logic half_q, stores, masks;
  logic [1023:0] tile_q;
  logic [31:0] position_q, weights, total, x_total, g_total;
  logic [63:0] sum_q, mask_q;
  logic [7:0] operation;
  logic [15:0] flags;

  // A field as a number.
  `define JB_FIELD(NAME) 32'(tile_q[jb_pkg::NAME``_LSB +: jb_pkg::NAME``_BITS])

  assign operation = tile_q[jb_pkg::OPERATION_LSB+:8];
  assign flags     = tile_q[jb_pkg::FLAGS_LSB+:16];
  assign stores    = flags[jb_pkg::FLAG_LAST] && operation != jb_pkg::OP_PREDICT;
  assign masks     = stores && flags[jb_pkg::FLAG_MASK];
  assign weights   = `JB_FIELD(W_BYTES) / 8;
  assign x_total   = operation == jb_pkg::OP_INPUT_GRADIENT && !flags[jb_pkg::FLAG_PREDICT] ? 0
                     : `JB_FIELD(IMAGES) * `JB_FIELD(X_ROWS) * `JB_FIELD(X_COLUMNS) * `JB_FIELD(X_WORDS);
  assign g_total   = operation == jb_pkg::OP_FORWARD ? 0
                     : `JB_FIELD(IMAGES) * `JB_FIELD(G_ROWS) * `JB_FIELD(G_COLUMNS) * `JB_FIELD(G_WORDS);

  logic [31:0] pixels, channels, last_channels, bytes;
  always_comb begin
    bytes         = flags[jb_pkg::FLAG_RAW] ? 8 : flags[jb_pkg::FLAG_RELU] ? 1 : 2;
    pixels        = `JB_FIELD(IMAGES) * (operation == jb_pkg::OP_FORWARD ? `JB_FIELD(G_ROWS) * `JB_FIELD(G_COLUMNS)
                                                                         : `JB_FIELD(X_ROWS) * `JB_FIELD(X_COLUMNS));
    channels      = operation == jb_pkg::OP_FORWARD ? 4 * `JB_FIELD(G_WORDS) : 8 * `JB_FIELD(X_WORDS);
    last_channels = channels - (`JB_FIELD(OUT_BLOCK) + `JB_FIELD(OUT_BLOCKS) - 1) * OutLanes;
    if (last_channels > OutLanes) last_channels = OutLanes;
    if (operation == jb_pkg::OP_WEIGHT_GRADIENT) begin
      total = `JB_FIELD(OUT_BLOCKS) * `JB_FIELD(X_WORDS) * `JB_FIELD(KERNEL_H) * `JB_FIELD(KERNEL_W) * OutLanes
              * (flags[jb_pkg::FLAG_RAW] ? 8 : 1);
    end else begin
      total = pixels * ((`JB_FIELD(OUT_BLOCKS) - 1) * ((OutLanes * bytes + 7) / 8) + (last_channels * bytes + 7) / 8);
    end
  end

  assign tile_ready_o = state_q == StIdle;
  assign w_ready_o    = state_q == StWeights && position_q < weights;
  assign m_ready_o    = state_q == StMask;
  assign o_valid_o    = state_q == StBeat;
  assign o_last_o     = position_q == total - 1;
  assign o_data_o     = (x_total == 0 ? '0 : x_memory[13'(32'(half_q) * Words + position_q % x_total)])
                        ^ (g_total == 0 ? '0 : g_memory[13'(32'(half_q) * Words + position_q % g_total)])
                        ^ mask_q ^ sum_q ^ {32'd0, position_q};
  assign done_valid_o = state_q == StDone;
  assign release_half_o = half_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q         <= StIdle;
      release_valid_o <= 1'b0;
    end else begin
      release_valid_o <= 1'b0;
      case (state_q)
        StIdle: begin
          position_q <= '0;
          sum_q      <= '0;
          mask_q     <= '0;
          if (tile_valid_i) begin
            tile_q  <= tile_i;
            half_q  <= tile_half_i;
            state_q <= StWeights;
          end
        end
        StWeights: begin
          if (w_valid_i && w_ready_o) begin
            sum_q      <= {sum_q[62:0], sum_q[63]} ^ w_data_i;
            position_q <= position_q + 1;
          end else if (position_q == weights) begin
            position_q <= '0;
            state_q    <= !stores ? StDone : masks ? StMask : StBeat;
            if (!stores) release_valid_o <= 1'b1;
          end
        end
        StMask: begin
          if (m_valid_i) begin
            mask_q  <= m_data_i;
            // Masks are as many bytes as a result has channels: a beat for two beats of results, for each pixel.
            state_q <= StBeat;
          end
        end
        StBeat: begin
          if (o_ready_i) begin
            position_q <= position_q + 1;
            if (o_last_o) begin
              state_q         <= StDone;
              release_valid_o <= 1'b1;
            end else if (masks && mask_due) begin
              state_q <= StMask;
            end
          end
        end
        default: if (done_ready_i) state_q <= StIdle;
      endcase
    end
  end

  // When the next beat of masks is due: position within a pixel's part of a block, in beats of results.
  logic [31:0] chunk, in_chunk_q, chunk_q, block_q, block_chunks;
  logic mask_due, chunk_end;
  assign chunk_end    = in_chunk_q == chunk - 1;
  assign block_chunks = pixels;
  assign chunk        = block_q == `JB_FIELD(OUT_BLOCKS) - 1 ? (last_channels * bytes + 7) / 8 : (OutLanes * bytes + 7) / 8;
  assign mask_due     = chunk_end || (in_chunk_q + 1) % bytes == 0;

  always_ff @(posedge clk_i) begin
    if (state_q == StIdle) begin
      in_chunk_q <= '0;
      chunk_q    <= '0;
      block_q    <= '0;
    end else if (state_q == StBeat && o_ready_i) begin
      in_chunk_q <= chunk_end ? '0 : in_chunk_q + 1;
      if (chunk_end) begin
        chunk_q <= chunk_q == block_chunks - 1 ? '0 : chunk_q + 1;
        if (chunk_q == block_chunks - 1) block_q <= block_q + 1;
      end
    end
  end

  assign done_peak_o           = sum_q;
  assign done_saturated_o      = x_total;
  assign done_decided_o        = g_total;
  assign done_undecided_o      = weights;
  assign done_compute_cycles_o = position_q;
  assign done_stall_cycles_o   = 32'd7;
  assign done_macs_o           = {32'd1, position_q};
  assign done_macs_gated_o     = {32'd2, position_q};

  logic unused;
  assign unused = ^tile_q;

  `undef JB_FIELD
endmodule

`default_nettype wire
