// The tile between the checker and the core: waits for a free half of the feature buffers, starts its loads and streams,
// offers it to the core when its features are there, and tells the finish about it when the core takes it. While this tile
// loads, the core computes the one before. A wrong descriptor passes through, to be reported in its turn, and is the last.
`default_nettype none

module jb_tile_queue (
  input  wire logic          clk_i,
  input  wire logic          rst_ni,
  input  wire logic          load_error_i,    // a read of features went wrong since the last reset
  input  wire logic          stream_error_i,  // a read of weights or masks, of this tile or the one in the core
  // a checked descriptor
  input  wire logic          valid_i,
  output      logic          ready_o,
  input  wire logic [1023:0] descriptor_i,
  input  wire logic [31:0]   error_i,
  input  wire logic          trusted_i,
  input  wire logic          last_i,          // the list's last
  input  wire logic [15:0]   index_i,
  input  wire logic [28:0]   x_row_words_i,
  input  wire logic [28:0]   g_row_words_i,
  input  wire logic [28:0]   dw_words_i,
  input  wire logic [47:0]   macs_4x10_i,
  // the tile that is here
  output      logic [1023:0] descriptor_o,
  output      logic          half_o,
  output      logic [28:0]   x_row_words_o,
  output      logic [28:0]   g_row_words_o,
  output      logic [28:0]   dw_words_o,
  // its loads and streams
  output      logic          x_valid_o,
  input  wire logic          x_ready_i,
  input  wire logic          x_busy_i,
  output      logic          g_valid_o,
  input  wire logic          g_ready_i,
  input  wire logic          g_busy_i,
  output      logic          w_valid_o,
  input  wire logic          w_ready_i,
  output      logic          m_valid_o,
  input  wire logic          m_ready_i,
  input  wire logic          masks_i,         // this tile needs masks
  // to the core
  output      logic          tile_valid_o,
  input  wire logic          tile_ready_i,
  input  wire logic          release_valid_i,
  input  wire logic          release_half_i,
  output      logic          loading_o,       // a tile is here and its features are not
  output      logic          stopped_o,       // a wrong descriptor has passed
  // to the finish
  output      logic          finish_valid_o,
  input  wire logic          finish_ready_i,
  output      logic [31:0]   finish_error_o,  // not 0: the core knows nothing of it
  output      logic          finish_trusted_o,
  output      logic          finish_last_o,
  output      logic [15:0]   finish_index_o,
  output      logic [47:0]   finish_macs_4x10_o,
  output      logic [31:0]   finish_start_o,  // when its loads began
  output      logic [31:0]   time_o
);
  typedef enum logic [2:0] {
    StEmpty,
    StHalf,    // waits for its half of the buffers
    StLoad,
    StOffer,
    StStream,  // with the core; its streams have not taken their requests yet
    StReport   // wrong
  } state_e;

  state_e state_q;
  logic next_half_q;
  logic [1:0] half_busy_q;
  logic need_x_q, need_g_q, need_w_q, need_m_q;
  logic take, bus_error;
  logic [7:0] operation;

  assign operation = descriptor_o[jb_pkg::OPERATION_LSB+:8];

  assign bus_error    = load_error_i || stream_error_i;
  assign ready_o      = state_q == StEmpty && !stopped_o && !bus_error;
  assign take         = valid_i && ready_o;
  assign x_valid_o    = need_x_q;
  assign g_valid_o    = need_g_q;
  assign w_valid_o    = need_w_q;
  assign m_valid_o    = need_m_q;
  assign tile_valid_o = state_q == StOffer && finish_ready_i;
  assign loading_o    = state_q == StHalf || state_q == StLoad;
  assign half_o       = next_half_q;

  assign finish_valid_o = (state_q == StOffer && tile_ready_i) || state_q == StReport;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q     <= StEmpty;
      next_half_q <= 1'b0;
      half_busy_q <= 2'b00;
      need_x_q    <= 1'b0;
      need_g_q    <= 1'b0;
      need_w_q    <= 1'b0;
      need_m_q    <= 1'b0;
      stopped_o   <= 1'b0;
    end else begin
      if (x_ready_i) need_x_q <= 1'b0;
      if (g_ready_i) need_g_q <= 1'b0;
      if (w_ready_i) need_w_q <= 1'b0;
      if (m_ready_i) need_m_q <= 1'b0;
      if (release_valid_i) half_busy_q[release_half_i] <= 1'b0;

      unique case (state_q)
        StEmpty: begin
          if (take) state_q <= error_i == '0 ? StHalf : StReport;
        end
        StHalf: begin
          if (!half_busy_q[next_half_q]) begin
            half_busy_q[next_half_q] <= 1'b1;
            need_x_q <= operation != jb_pkg::OP_INPUT_GRADIENT || descriptor_o[jb_pkg::FLAGS_LSB+jb_pkg::FLAG_PREDICT];
            need_g_q <= operation != jb_pkg::OP_FORWARD;
            need_w_q <= operation == jb_pkg::OP_FORWARD || operation == jb_pkg::OP_INPUT_GRADIENT;
            need_m_q <= masks_i;
            state_q  <= StLoad;
          end
        end
        StLoad: begin
          if (!need_x_q && !need_g_q && !x_busy_i && !g_busy_i) state_q <= bus_error ? StReport : StOffer;
        end
        StOffer: begin
          // An offer stands until it is taken.
          if (tile_valid_o && tile_ready_i) begin
            next_half_q <= !next_half_q;
            state_q     <= StStream;
          end
        end
        StStream: if (!need_w_q && !need_m_q) state_q <= StEmpty;
        default: begin
          stopped_o <= 1'b1;
          if (finish_ready_i) state_q <= StEmpty;
        end
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) time_o <= '0;
    else time_o <= time_o + 32'd1;
  end

  always_ff @(posedge clk_i) begin
    if (take) begin
      descriptor_o       <= descriptor_i;
      x_row_words_o      <= x_row_words_i;
      g_row_words_o      <= g_row_words_i;
      dw_words_o         <= dw_words_i;
      finish_error_o     <= error_i;
      finish_trusted_o   <= trusted_i;
      finish_last_o      <= last_i;
      finish_index_o     <= index_i;
      finish_macs_4x10_o <= macs_4x10_i;
      finish_start_o     <= time_o;
    end else if (state_q == StHalf) begin
      finish_start_o <= time_o;
    end else if (state_q == StLoad && bus_error) begin
      finish_error_o[jb_pkg::ERR_BUS_READ] <= 1'b1;
    end
  end
endmodule

`default_nettype wire
