// The end of a tile: sends its results to the write port, waits until all responses are there, writes the result block, and
// tells the registers. Tiles come in the order of their descriptors.
`default_nettype none

module jb_tile_finish #(
  parameter int Config = 0
) (
  input  wire logic          clk_i,
  input  wire logic          rst_ni,
  // a tile that the core has taken, or (error not 0) a wrong one
  input  wire logic          valid_i,
  output      logic          ready_o,
  input  wire logic [1023:0] descriptor_i,
  input  wire logic [28:0]   x_row_words_i,
  input  wire logic [28:0]   g_row_words_i,
  input  wire logic [28:0]   dw_words_i,
  input  wire logic [31:0]   error_i,
  input  wire logic          trusted_i,
  input  wire logic          last_i,
  input  wire logic [15:0]   index_i,
  input  wire logic [47:0]   macs_4x10_i,
  input  wire logic [31:0]   start_i,
  input  wire logic [31:0]   time_i,
  // results: bursts to port 0, and the core's stream on its way there
  output      logic          burst_valid_o,
  input  wire logic          burst_ready_i,
  output      logic [31:0]   burst_address_o,
  output      logic [ 4:0]   burst_beats_o,
  output      logic          burst_upper_o,
  output      logic          burst_lower_o,
  input  wire logic          results_idle_i,   // all responses are there
  input  wire logic          results_starved_i,// the port waits for data that are not there
  output      logic          o_accept_o,       // results may go to the port
  input  wire logic          o_beat_i,         // one does
  input  wire logic          o_last_i,         // and it is the tile's last
  // result block: bursts and data to port 1
  output      logic          block_burst_valid_o,
  input  wire logic          block_burst_ready_i,
  output      logic [31:0]   block_burst_address_o,
  output      logic [ 4:0]   block_burst_beats_o,
  output      logic          block_data_valid_o,
  input  wire logic          block_data_ready_i,
  output      logic [63:0]   block_data_o,
  input  wire logic          block_idle_i,
  // the core's account of the tile
  input  wire logic          done_valid_i,
  output      logic          done_ready_o,
  input  wire logic [63:0]   done_peak_i,
  input  wire logic [31:0]   done_saturated_i,
  input  wire logic [31:0]   done_decided_i,
  input  wire logic [31:0]   done_undecided_i,
  input  wire logic [31:0]   done_compute_cycles_i,
  input  wire logic [31:0]   done_stall_cycles_i,
  input  wire logic [63:0]   done_macs_i,
  input  wire logic [63:0]   done_macs_gated_i,
  // bus errors so far
  input  wire logic          read_error_i,
  input  wire logic          write_error_i,
  // to the registers
  output      logic          count_tile_o,     // a pulse: add the core's account and what follows, stable until counting_i has fallen
  input  wire logic          counting_i,
  output      logic          forward_o,
  output      logic          gradient_o,       // input or weight gradient
  output      logic [47:0]   macs_4x10_o,
  output      logic          interrupt_o,
  output      logic          done_o,           // one more descriptor is done
  output      logic          list_done_o,      // and it was the last
  output      logic          fail_o,
  output      logic [31:0]   fail_error_o,
  output      logic [15:0]   fail_index_o
);
  localparam int RequestBits = 32 + 4 * 16 + 4 * 32 + 2 * 29 + 2;
  localparam int EntryBits = RequestBits + 32 + 32 + 48 + 16 + 32 + 8 + 5;

  // ---- the queue of tiles
  logic stores, masks_unused;
  logic [RequestBits-1:0] request, request_q;
  logic [31:0] address, block_stride, image_stride, row_stride, chunk_stride;
  logic [15:0] blocks, images, rows, chunks;
  logic [28:0] beats, last_beats;
  logic half, last_half;
  logic [31:0] mask_address_unused, mask_block_unused, mask_image_unused, mask_row_unused, mask_chunk_unused;
  logic [15:0] mask_chunks_unused;
  logic [28:0] mask_beats_unused, mask_last_unused;

  jb_dma_result #(
    .Config(Config)
  ) u_request (
    .clk_i,
    .descriptor_i,
    .x_row_words_i,
    .g_row_words_i,
    .dw_words_i,
    .stores_o           (stores),
    .address_o          (address),
    .blocks_o           (blocks),
    .images_o           (images),
    .rows_o             (rows),
    .chunks_o           (chunks),
    .block_stride_o     (block_stride),
    .image_stride_o     (image_stride),
    .row_stride_o       (row_stride),
    .chunk_stride_o     (chunk_stride),
    .beats_o            (beats),
    .last_beats_o       (last_beats),
    .half_o             (half),
    .last_half_o        (last_half),
    .masks_o            (masks_unused),
    .mask_address_o     (mask_address_unused),
    .mask_chunks_o      (mask_chunks_unused),
    .mask_block_stride_o(mask_block_unused),
    .mask_image_stride_o(mask_image_unused),
    .mask_row_stride_o  (mask_row_unused),
    .mask_chunk_stride_o(mask_chunk_unused),
    .mask_beats_o       (mask_beats_unused),
    .mask_last_beats_o  (mask_last_unused)
  );

  assign request = {address, blocks, images, rows, chunks, block_stride, image_stride, row_stride, chunk_stride, beats,
                    last_beats, half, last_half};

  logic entry_valid, entry_pop;
  logic [EntryBits-1:0] entry;
  logic [2:0] entry_count_unused;
  logic [31:0] result_address, start_q, error_q;
  logic [47:0] macs_4x10_q;
  logic [15:0] index_q;
  logic [7:0] operation_q;
  logic irq_q, last_q, trusted_q, wrong_q, stores_q;

  jb_fifo #(
    .Width(EntryBits),
    .Depth(4)
  ) u_entries (
    .clk_i,
    .rst_ni,
    .valid_i,
    .ready_o,
    .data_i ({request, descriptor_i[jb_pkg::RESULT_ADDRESS_LSB+:32], start_i, macs_4x10_i, index_i, error_i,
              descriptor_i[jb_pkg::OPERATION_LSB+:8], descriptor_i[jb_pkg::FLAGS_LSB+jb_pkg::FLAG_IRQ], last_i, trusted_i,
              error_i != '0, stores}),
    .valid_o(entry_valid),
    .ready_i(entry_pop),
    .data_o (entry),
    .count_o(entry_count_unused)
  );

  assign {request_q, result_address, start_q, macs_4x10_q, index_q, error_q, operation_q, irq_q, last_q, trusted_q, wrong_q,
          stores_q} = entry;

  // ---- steps
  typedef enum logic [2:0] {
    StWait,
    StResults,    // results are on their way
    StResponses,  // all are asked for; responses are missing
    StBlock,      // the result block is asked for
    StBlockData,
    StBlockResponse,
    StEnd
  } state_e;

  state_e state_q;
  logic walk_ready, walk_last, walk_busy, walk_taken;
  logic [31:0] address_q, block_stride_q, image_stride_q, row_stride_q, chunk_stride_q;
  logic [15:0] blocks_q, images_q, rows_q, chunks_q;
  logic [28:0] beats_q, last_beats_q;
  logic half_q, last_half_q;

  assign {address_q, blocks_q, images_q, rows_q, chunks_q, block_stride_q, image_stride_q, row_stride_q, chunk_stride_q, beats_q,
          last_beats_q, half_q, last_half_q} = request_q;

  jb_dma_walk u_walk (
    .clk_i,
    .rst_ni,
    .valid_i       (state_q == StWait && entry_valid && !wrong_q && stores_q),
    .ready_o       (walk_ready),
    .address_i     (address_q),
    .blocks_i      (blocks_q),
    .images_i      (images_q),
    .rows_i        (rows_q),
    .chunks_i      (chunks_q),
    .block_stride_i(block_stride_q),
    .image_stride_i(image_stride_q),
    .row_stride_i  (row_stride_q),
    .chunk_stride_i(chunk_stride_q),
    .beats_i       (beats_q),
    .last_beats_i  (last_beats_q),
    .half_i        (half_q),
    .last_half_i   (last_half_q),
    .valid_o       (burst_valid_o),
    .ready_i       (burst_ready_i),
    .address_o     (burst_address_o),
    .beats_o       (burst_beats_o),
    .upper_o       (burst_upper_o),
    .lower_o       (burst_lower_o),
    .last_o        (walk_last),
    .busy_o        (walk_busy)
  );
  assign walk_taken = burst_valid_o && burst_ready_i && walk_last;

  // The core's o_last must come with the last beat that is asked for: neither before it nor after.
  logic o_last_q, o_wrong_q;
  logic [31:0] cycles_q, bus_errors;
  logic read_error_q;
  logic write_block;

  // What went wrong until the result block is made is this tile's; a read that fails later belongs to the next one.
  always_comb begin
    bus_errors = '0;
    bus_errors[jb_pkg::ERR_BUS_READ]  = read_error_q;
    bus_errors[jb_pkg::ERR_BUS_WRITE] = write_error_i;
    bus_errors[jb_pkg::ERR_INTERNAL]  = o_wrong_q;
  end

  // A block that spans 4 KB takes two bursts.
  logic block_walk_ready, block_upper_unused, block_lower_unused, block_last, block_busy_unused;
  logic [2:0] beat_q;
  jb_dma_walk u_block (
    .clk_i,
    .rst_ni,
    .valid_i       (state_q == StBlock),
    .ready_o       (block_walk_ready),
    .address_i     (result_address),
    .blocks_i      (16'd1),
    .images_i      (16'd1),
    .rows_i        (16'd1),
    .chunks_i      (16'd1),
    .block_stride_i('0),
    .image_stride_i('0),
    .row_stride_i  ('0),
    .chunk_stride_i('0),
    .beats_i       (29'(jb_pkg::RESULT_BYTES / jb_pkg::WORD_BYTES)),
    .last_beats_i  (29'(jb_pkg::RESULT_BYTES / jb_pkg::WORD_BYTES)),
    .half_i        (1'b0),
    .last_half_i   (1'b0),
    .valid_o       (block_burst_valid_o),
    .ready_i       (block_burst_ready_i),
    .address_o     (block_burst_address_o),
    .beats_o       (block_burst_beats_o),
    .upper_o       (block_upper_unused),
    .lower_o       (block_lower_unused),
    .last_o        (block_last),
    .busy_o        (block_busy_unused)
  );

  logic asked_q, filled_q;  // the block's last burst is asked for; its data are handed over
  logic [31:0] error;
  logic [511:0] block;

  assign error              = error_q | bus_errors;
  assign write_block        = trusted_q && result_address[2:0] == '0;
  assign block_data_valid_o = state_q == StBlockData && !filled_q;
  assign block_data_o       = block[{beat_q, 6'd0}+:64];

  always_comb begin
    block = '0;
    block[jb_pkg::RESULT_STATUS_LSB+:16] = error == '0 ? 16'd1 : 16'd2;
    block[jb_pkg::RESULT_ERROR_LSB+:32]  = error;
    if (!wrong_q) begin
      block[jb_pkg::RESULT_PEAK_LSB+:64]           = done_peak_i;
      block[jb_pkg::RESULT_SATURATED_LSB+:32]      = done_saturated_i;
      block[jb_pkg::RESULT_DECIDED_LSB+:32]        = done_decided_i;
      block[jb_pkg::RESULT_UNDECIDED_LSB+:32]      = done_undecided_i;
      block[jb_pkg::RESULT_CYCLES_LSB+:32]         = cycles_q;
      block[jb_pkg::RESULT_COMPUTE_CYCLES_LSB+:32] = done_compute_cycles_i;
      block[jb_pkg::RESULT_STALL_CYCLES_LSB+:32]   = done_stall_cycles_i;
      block[jb_pkg::RESULT_MACS_LSB+:64]           = done_macs_i;
      block[jb_pkg::RESULT_MACS_GATED_LSB+:64]     = done_macs_gated_i;
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q   <= StWait;
      o_last_q  <= 1'b0;
      o_wrong_q <= 1'b0;
    end else begin
      if (o_beat_i && o_last_i) o_last_q <= 1'b1;
      unique case (state_q)
        StWait: begin
          if (entry_valid) begin
            if (wrong_q) state_q <= write_block ? StBlock : StEnd;
            else if (!stores_q) state_q <= StResponses;
            else if (walk_ready) state_q <= StResults;
          end
        end
        StResults: begin
          if (walk_taken) begin
            state_q <= StResponses;
          end else if (o_last_q && results_starved_i) begin
            o_wrong_q <= 1'b1;
            state_q   <= StResponses;
          end
        end
        StResponses: begin
          if (stores_q && !o_last_q) o_wrong_q <= 1'b1;
          if ((done_valid_i || o_wrong_q) && results_idle_i) state_q <= StBlock;
        end
        StBlock:     if (block_walk_ready) state_q <= StBlockData;
        StBlockData: if (asked_q && filled_q) state_q <= StBlockResponse;
        StBlockResponse: if (block_idle_i && !counting_i) state_q <= StEnd;
        default: begin
          state_q  <= StWait;
          o_last_q <= 1'b0;
        end
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (state_q == StResponses) cycles_q <= time_i - start_q;
    if (state_q == StWait) read_error_q <= 1'b0;
    else if (state_q == StBlock) read_error_q <= read_error_i && !wrong_q;
    if (state_q == StBlock) begin
      beat_q   <= '0;
      asked_q  <= 1'b0;
      filled_q <= 1'b0;
    end else begin
      if (block_data_valid_o && block_data_ready_i) begin
        beat_q <= beat_q + 3'd1;
        if (beat_q == 3'd7) filled_q <= 1'b1;
      end
      if (block_burst_valid_o && block_burst_ready_i && block_last) asked_q <= 1'b1;
    end
  end

  assign entry_pop    = state_q == StEnd;
  assign o_accept_o   = state_q == StResults && !o_last_q;
  assign done_ready_o = state_q == StEnd && !wrong_q;
  assign count_tile_o = state_q == StBlock && block_walk_ready && !wrong_q && done_valid_i;
  assign done_o       = state_q == StEnd && error == '0;
  assign list_done_o  = done_o && last_q;
  assign interrupt_o  = done_o && irq_q;
  assign fail_o       = state_q == StEnd && error != '0;
  assign fail_error_o = error;
  assign fail_index_o = index_q;
  assign forward_o    = operation_q == jb_pkg::OP_FORWARD;
  assign gradient_o   = operation_q == jb_pkg::OP_INPUT_GRADIENT || operation_q == jb_pkg::OP_WEIGHT_GRADIENT;
  assign macs_4x10_o  = macs_4x10_q;

  logic unused;
  assign unused = ^{walk_busy, masks_unused, mask_address_unused, mask_block_unused, mask_image_unused, mask_row_unused,
                    mask_chunk_unused, mask_chunks_unused, mask_beats_unused, mask_last_unused, entry_count_unused,
                    block_upper_unused, block_lower_unused, block_busy_unused};
endmodule

`default_nettype wire
